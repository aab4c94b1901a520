// moesifapi: a program that reports an API call, an action, a user and a company by itself.

const moesif = require('moesifapi');

const { CATCHMENT_URL, CATCHMENT_APPLICATION_ID } = process.env;
if (!CATCHMENT_URL || !CATCHMENT_APPLICATION_ID) {
  console.error('Set CATCHMENT_URL (such as http://127.0.0.1:8080) and CATCHMENT_APPLICATION_ID (see `catchment keys`).');
  process.exit(1);
}
moesif.configuration.BaseUri = CATCHMENT_URL;
moesif.configuration.ApplicationId = CATCHMENT_APPLICATION_ID;

function send(what, model) {
  return new Promise((resolve, reject) => {
    moesif.ApiController[what](model, (error) => (error ? reject(new Error(error.errorMessage)) : resolve()));
  });
}

async function main() {
  const now = new Date();
  await send(
    'createEvent',
    new moesif.EventModel({
      request: { time: now, uri: 'https://api.shop.example/orders', verb: 'POST', headers: {}, body: { item: 'boots' } },
      response: { time: now, status: 201, headers: {}, body: { order: 1 } },
      userId: 'node-client-user',
      companyId: 'node-client-company',
      metadata: { plan: 'free' },
    }),
  );
  await send('sendActionsBatch', [
    new moesif.ActionModel({
      actionName: 'Opened Cart',
      userId: 'node-client-user',
      request: { uri: 'https://shop.example/cart' },
      metadata: { items: 1 },
    }),
  ]);
  await send('updateUser', new moesif.UserModel({ userId: 'node-client-user', metadata: { name: 'Ana' } }));
  await send(
    'updateCompany',
    new moesif.CompanyModel({ companyId: 'node-client-company', companyDomain: 'shop.example' }),
  );
  console.log('Sent an API call, an action, a user and a company.');
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
