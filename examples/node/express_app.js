// moesif-nodejs: an API on Express whose calls are reported by the middleware. It calls itself three times, and ends.

const express = require('express');
const moesif = require('moesif-nodejs');

const { CATCHMENT_URL, CATCHMENT_APPLICATION_ID } = process.env;
if (!CATCHMENT_URL || !CATCHMENT_APPLICATION_ID) {
  console.error('Set CATCHMENT_URL (such as http://127.0.0.1:8080) and CATCHMENT_APPLICATION_ID (see `catchment keys`).');
  process.exit(1);
}

const CALLS = ['/items/1', '/items/2', '/nowhere'];
let sent = 0;

const app = express();
app.use(
  moesif({
    applicationId: CATCHMENT_APPLICATION_ID,
    baseUri: CATCHMENT_URL,
    identifyUser: (req) => req.headers['x-user'],
    identifyCompany: () => 'express-company',
    // The middleware sends in batches, every two seconds; this tells what became of each.
    callback: (error, events) => {
      if (error) throw new Error(error.errorMessage);
      sent += events.length;
      if (sent === CALLS.length) {
        console.log(`Sent ${sent} API calls.`);
        server.close();
      }
    },
  }),
);
app.get('/items/:id', (req, res) => res.json({ id: req.params.id }));

const server = app.listen(0, '127.0.0.1', async () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  for (const path of CALLS) {
    await fetch(url + path, { headers: { 'x-user': 'express-user', 'connection': 'close' } });
  }
});
