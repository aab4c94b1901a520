// Moesif's `moesifapi`, one scenario a run: node api.js SCENARIO
// Prints for each call what its callback was given.

const moesif = require('moesifapi');

moesif.configuration.BaseUri = process.env.CATCHMENT_URL;
moesif.configuration.ApplicationId = process.env.CATCHMENT_APPLICATION_ID;

const started = Date.now();
const api = moesif.ApiController;

function call(name, ...given) {
  return new Promise((resolve) => {
    api[name](...given, (error, response) => {
      resolve({ call: name, error, status: response && response.statusCode, body: response && response.body });
    });
  });
}

function health() {
  return new Promise((resolve) => {
    moesif.HealthController.getHealthProbe((error, status) => resolve({ call: 'health', error, body: status }));
  });
}

function event(number, fields) {
  return new moesif.EventModel({
    request: {
      time: new Date(started),
      uri: `https://api.acme.com/items/${number}?x=1`,
      verb: 'POST',
      headers: { 'Host': 'api.acme.com', 'Authorization': 'Bearer secret', 'User-Agent': 'UA/1' },
      apiVersion: '1.0',
      ipAddress: '1.2.3.4',
      body: { a: number },
    },
    response: {
      time: new Date(started + 20),
      status: 200,
      headers: { 'Content-Type': 'application/json', 'content-length': 11, 'set-cookie': ['a=1', 'b=2'] },
      body: { ok: true },
    },
    sessionToken: 'tok',
    userId: `u${number}`,
    companyId: 'c1',
    metadata: { k: 'v' },
    tags: 'one, two',
    direction: 'Incoming',
    weight: 3,
    ...fields,
  });
}

function plainEvent(number, time) {
  return {
    request: {
      time,
      uri: `https://api.acme.com/plain/${number}`,
      verb: 'GET',
      headers: {},
      ipAddress: '5.6.7.8',
      apiVersion: '2.0',
    },
    response: { time, status: 404, headers: {}, ipAddress: '10.0.0.1' },
    userId: 'plain',
    companyId: 'c2',
    sessionToken: 'tok',
  };
}

const scenarios = {
  events: () => [call('createEvent', event(1))],
  batches: () => [call('createEventsBatch', Array.from({ length: 50 }, (_, number) => event(number)))],
  withoutResponse: () => [call('createEventsBatch', [event(1, { response: undefined })])],
  plainObjects: () => [
    call('createEventsBatch', [
      plainEvent(1, new Date(started)),
      plainEvent(2, new Date(started).toISOString()),
      plainEvent(3, started),
    ]),
  ],
  longAgo: () => [call('createEvent', plainEvent(1, '2019-05-04T03:02:01.123Z'))],
  users: () => [
    call(
      'updateUser',
      new moesif.UserModel({
        userId: 'u1',
        companyId: 'c1',
        sessionToken: 'tok',
        ipAddress: '1.2.3.4',
        userAgentString: 'UA/1',
        modifiedTime: new Date(started),
        campaign: { utmSource: 'google', utmCampaign: 'spring' },
        metadata: { email: 'a@b.c', address: { city: 'Paris' } },
      }),
    ),
    call('updateUsersBatch', [
      new moesif.UserModel({ userId: 'u2', metadata: { plan: 'free' } }),
      { userId: 'u3', companyId: 'c3', metadata: { firstName: 'Ana' } },
    ]),
  ],
  companies: () => [
    call(
      'updateCompany',
      new moesif.CompanyModel({
        companyId: 'c1',
        companyDomain: 'acme.com',
        campaign: { utmSource: 'google' },
        metadata: { org_name: 'Acme', address: { city: 'Paris' } },
      }),
    ),
    call('updateCompaniesBatch', [
      new moesif.CompanyModel({ companyId: 'c2', companyDomain: 'two.com' }),
      { companyId: 'c3', companyDomain: 'three.com', metadata: { orgName: 'Three' } },
    ]),
  ],
  subscriptions: () => [
    call(
      'updateSubscription',
      new moesif.SubscriptionModel({
        subscriptionId: 's1',
        companyId: 'c1',
        currentPeriodStart: new Date(started),
        currentPeriodEnd: '2099-02-02T00:00:00Z',
        status: 'active',
        metadata: { plan: 'pro' },
      }),
    ),
    call('updateSubscriptionsBatch', [
      new moesif.SubscriptionModel({ subscriptionId: 's2', companyId: 'c1', status: 'trialing' }),
      new moesif.SubscriptionModel({ subscriptionId: 's3', companyId: 'c2', status: 'cancelled' }),
    ]),
  ],
  actions: () => [
    call(
      'sendAction',
      new moesif.ActionModel({
        transactionId: 'a3765025-46ec-45dd-bc83-b136c8d1d257',
        actionName: 'Clicked Sign Up',
        sessionToken: 'tok',
        userId: 'u1',
        companyId: 'c1',
        metadata: { button: 'top' },
        request: { time: new Date(started), uri: 'https://acme.com/p', ipAddress: '1.2.3.4', userAgentString: 'UA/1' },
      }),
    ),
    call('sendActionsBatch', [
      new moesif.ActionModel({ actionName: 'Opened', userId: 'u2', request: { uri: 'https://acme.com/a' } }),
      { actionName: 'Closed', userId: 'u3', companyId: 'c3', request: { uri: 'https://acme.com/b', time: started } },
    ]),
  ],
  settings: () => [call('getAppConfig'), call('getRules'), health()],
};

Promise.all(scenarios[process.argv[2]]()).then((answers) => {
  console.log(JSON.stringify({ started: new Date(started).toISOString(), answers }));
});
