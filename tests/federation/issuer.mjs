// An OpenID provider for the tests: `node issuer.mjs FOLDER`, where FOLDER has oidc-provider installed.
// Standard input: a JSON object of port, issuer, jwks, clients, claims, resource. Each request is a line on
// standard output; `ready` is the first.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const require = createRequire(`${process.argv[2]}/`);
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
const settings = JSON.parse(readFileSync(0));

const provider = new Provider(settings.issuer, {
  jwks: settings.jwks,
  clients: settings.clients,
  claims: { openid: ['sub'], profile: ['preferred_username'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['of the tests'] },
  extraTokenClaims: () => settings.claims,
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: '', audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id }) }),
});
const answer = provider.callback();
const { createServer } = await import('node:http');
createServer((request, response) => {
  process.stdout.write(`${request.method} ${request.url.split('?')[0]}\n`);
  answer(request, response);
}).listen(settings.port, '127.0.0.1', () => process.stdout.write('ready\n'));
