// An API on Express under Moesif's `moesif-nodejs`. Writes one JSON document a line: the port that it listens on, then
// what became of each batch. Ends when its standard input does.

const http = require('http');

const express = require('express');
const moesif = require('moesif-nodejs');

function say(document) {
  console.log(JSON.stringify(document));
}

const middleware = moesif({
  applicationId: process.env.CATCHMENT_APPLICATION_ID,
  baseUri: process.env.CATCHMENT_URL,
  batchMaxTime: Number(process.env.BATCH_MS || 600), // the least that it takes
  batchSize: 10,
  maxOutgoingTimeout: Number(process.env.OUTGOING_MS || 1000),
  identifyUser: (req) => req.headers['x-user'],
  identifyCompany: (req) => req.headers['x-company'],
  getSessionToken: (req) => req.headers.authorization,
  getApiVersion: () => '1.2',
  getMetadata: (req) => ({ agent: req.headers['user-agent'] }),
  skip: (req) => req.path === '/skipped',
  callback: (error, events) => say({ error, sent: events && events.length }),
});
middleware.startCaptureOutgoing();

const app = express();
app.use(middleware);
app.use(express.json());

app.get('/items/:id', (req, res) => res.json({ id: req.params.id }));
app.post('/items', (req, res) => res.status(201).json({ made: req.body, password: 'secret' }));
app.delete('/items/:id', (req, res) => res.status(204).end());
app.get('/text', (req, res) => res.type('text').send('plain text'));
app.post('/text', (req, res) => res.type('text').send('thanks'));
app.get('/cookies', (req, res) => res.append('Set-Cookie', ['a=1; Path=/', 'b=2; Path=/']).json([1, 2]));
app.get('/skipped', (req, res) => res.json({}));
app.get('/outgoing', (req, res) => {
  http.get(`http://${req.headers.host}/items/7`, { agent: false }, (answer) => answer.pipe(res));
});
app.post('/profile', async (req, res) => {
  const answers = await Promise.all([
    middleware.updateUser({ userId: 'u1', companyId: 'c1', sessionToken: 'tok', metadata: { email: 'a@b.c' } }),
    middleware.updateCompany({ companyId: 'c1', companyDomain: 'acme.com', metadata: { plan: 'pro' } }),
    middleware.updateSubscription({ subscriptionId: 's1', companyId: 'c1', status: 'active' }),
    middleware.sendAction({ actionName: 'Signed Up', userId: 'u1', request: { uri: 'https://acme.com/p' } }),
  ]);
  res.json(answers.map((answer) => answer.statusCode));
});

const server = app.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
process.stdin.resume();
process.stdin.on('end', () => {
  server.close();
  server.closeAllConnections();
});
