-- Cancels what a removal has running, on a handle that was marked as its own.
KILL QUERY WHERE Settings['log_comment'] = {mark:String}
