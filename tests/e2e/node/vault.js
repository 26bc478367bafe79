'use strict';
// Every call of node-vault's that Keyway answers, through the life of a cluster. Usage: vault.js ADDRESS DIRECTORY

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const vault = require('node-vault');

const [address, directory] = process.argv.slice(2);
// A client takes over the token of whatever it creates, renews or logs in with: those calls have one for themselves.
const as = (token) => vault({ endpoint: address, token });
const client = as('');

// The call fails with this status, and with this text in its first error.
async function refused(status, text, call) {
  const error = await call().then(
    (answer) => assert.fail(`it succeeded: ${JSON.stringify(answer)}`),
    (error) => error,
  );
  assert.equal(error.response?.statusCode, status, error.message);
  assert.ok(error.message.includes(text), error.message);
  return error;
}

async function until(what, condition) {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `${what} takes too long`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function cluster() {
  assert.equal((await client.initialized()).initialized, false);
  assert.equal((await client.health({ uninitcode: 200 })).initialized, false);
  const made = await client.init({ secret_shares: 3, secret_threshold: 2 });
  assert.equal(made.keys.length, 3);
  assert.equal(made.keys_base64.length, 3);
  assert.equal((await client.initialized()).initialized, true);
  await refused(400, 'already', () => client.init({ secret_shares: 1, secret_threshold: 1 }));
  // Anything but 200 and 204 is an error, but for health.
  assert.equal((await client.health()).sealed, true);
  await refused(503, 'sealed', () => as(made.root_token).read('secret/data/app'));

  const first = await client.unseal({ key: made.keys[0] });
  assert.deepEqual([first.sealed, first.progress, first.t, first.n], [true, 1, 2, 3]);
  assert.equal((await client.unseal({ reset: true })).progress, 0);
  await client.unseal({ key: made.keys_base64[2] });
  assert.equal((await client.unseal({ key: made.keys[1] })).sealed, false);
  const status = await client.status();
  assert.deepEqual([status.sealed, status.initialized, status.type], [false, true, 'shamir']);
  const health = await client.health();
  assert.deepEqual([health.initialized, health.sealed, health.standby], [true, false, false]);
  assert.equal((await client.leader()).ha_enabled, false);
  await refused(403, 'permission denied', () => client.mounts());
  return made;
}

async function mounts(root) {
  const listed = await root.mounts();
  assert.equal(listed.data['secret/'].options.version, '2');
  assert.equal(listed['secret/'].type, 'kv');
  // It sends the place in the body, too, a field that no server knows.
  await root.mount({ mount_point: 'plain', type: 'kv', description: 'plain', options: { version: '1' } });
  await root.mount({ mount_point: 'team/two', type: 'kv', options: { version: '2' }, config: { max_lease_ttl: '2h' } });
  const after = (await root.mounts()).data;
  assert.deepEqual([after['plain/'].description, after['plain/'].options.version], ['plain', '1']);
  assert.deepEqual([after['team/two/'].config.max_lease_ttl, after['team/two/'].options.version], [7200, '2']);
  await refused(400, 'path is already in use', () => root.mount({ mount_point: 'plain', type: 'kv' }));
  await refused(400, '', () => root.mount({ mount_point: 'other', type: 'nothing' }));

  await root.mount({ mount_point: 'moving', type: 'kv', options: { version: '1' } });
  await root.write('moving/a', { n: 1 });
  await root.remount({ from: 'moving', to: 'moved' });
  await until('a remount', () => root.read('moved/a').then((answer) => answer.data.n === 1, () => false));
  await root.unmount({ mount_point: 'moved' });
  assert.equal((await root.mounts()).data['moved/'], undefined);
  await refused(404, '', () => root.read('moved/a'));
}

async function secrets(root) {
  // Version 1.
  await root.write('plain/a/b', { n: 1, ü: '🔑', deep: { x: [null, true] } });
  const read = await root.read('plain/a/b');
  assert.deepEqual(read.data, { n: 1, ü: '🔑', deep: { x: [null, true] } });
  assert.ok(read.request_id && read.lease_id === '' && read.renewable === false);
  await root.write('plain/z', { z: '1' });
  assert.deepEqual((await root.list('plain')).data.keys, ['a/', 'z']);
  assert.deepEqual((await root.list('plain/a')).data.keys, ['b']);
  const plain = vault({ endpoint: address, token: root.token, noCustomHTTPVerbs: true });
  assert.deepEqual((await plain.list('plain/a')).data.keys, ['b']);
  await root.delete('plain/z');
  await refused(404, '', () => root.read('plain/z'));
  await refused(404, '', () => root.list('plain/nothing'));

  // Version 2.
  assert.equal((await root.write('secret/data/app/db', { data: { user: 'a', password: 'b' } })).data.version, 1);
  await refused(400, 'check-and-set parameter did not match', () =>
    root.write('secret/data/app/db', { options: { cas: 0 }, data: { user: 'b' } }));
  assert.equal((await root.write('secret/data/app/db', { options: { cas: 1 }, data: { user: 'b', x: 1 } })).data.version, 2);
  // A merge patch.
  assert.equal((await root.update('secret/data/app/db', { data: { x: null, y: 2 } })).data.version, 3);
  const latest = await root.read('secret/data/app/db');
  assert.deepEqual(latest.data.data, { user: 'b', y: 2 });
  assert.equal(latest.data.metadata.version, 3);
  assert.deepEqual((await root.read('secret/data/app/db?version=1')).data.data, { user: 'a', password: 'b' });
  await root.write('secret/metadata/app/db', { max_versions: 5, custom_metadata: { owner: 'me' } });
  const metadata = (await root.read('secret/metadata/app/db')).data;
  assert.deepEqual([metadata.current_version, metadata.max_versions, metadata.custom_metadata.owner], [3, 5, 'me']);
  assert.deepEqual((await root.list('secret/metadata/app')).data.keys, ['db']);
  await root.write('secret/delete/app/db', { versions: [2] });
  const deleted = await refused(404, '', () => root.read('secret/data/app/db?version=2'));
  assert.notEqual(deleted.response.body.data.metadata.deletion_time, '');
  await root.write('secret/undelete/app/db', { versions: [2] });
  assert.equal((await root.read('secret/data/app/db?version=2')).data.data.x, 1);
  await root.destroySecretVersions({ path: 'app/db', versions: [1] });
  assert.equal((await root.read('secret/metadata/app/db')).data.versions[1].destroyed, true);
  await root.destroySecretVersions({ mount_point: 'secret', path: 'app/db', versions: [2] });
  await root.delete('secret/data/app/db');
  await refused(404, '', () => root.read('secret/data/app/db'));
  await root.delete('secret/metadata/app/db');
  await refused(404, '', () => root.read('secret/metadata/app/db'));
  await root.write('secret/data/app/db', { data: { user: 'a' } });
}

async function policies(root) {
  const rules = 'path "secret/data/app/*" { capabilities = ["read"] }';
  // It sends the name in the body, too.
  await root.addPolicy({ name: 'app', policy: rules });
  assert.deepEqual((await root.policies()).data.policies, ['app', 'default', 'root']);
  const read = await root.getPolicy({ name: 'app' });
  assert.equal(read.data.rules ?? read.rules, rules);
  await refused(400, '', () => root.addPolicy({ name: 'bad', policy: 'path "x" {' }));
  await root.addPolicy({ name: 'gone', rules });
  await root.removePolicy({ name: 'gone' });
  await refused(404, '', () => root.getPolicy({ name: 'gone' }));
}

async function tokens(root) {
  const { auth } = await as(root.token).tokenCreate({ policies: ['app'], ttl: '1h', meta: { who: 'me' }, display_name: 'app', num_uses: 0 });
  assert.deepEqual([auth.policies, auth.lease_duration, auth.metadata.who], [['app', 'default'], 3600, 'me']);
  const app = as(auth.client_token);
  assert.equal((await app.read('secret/data/app/db')).data.data.user, 'a');
  await refused(403, 'permission denied', () => app.write('secret/data/app/db', { data: {} }));
  const own = (await app.tokenLookupSelf()).data;
  assert.deepEqual([own.accessor, own.display_name, own.orphan], [auth.accessor, 'token-app', false]);
  assert.equal((await root.tokenLookup({ token: auth.client_token })).data.accessor, auth.accessor);
  assert.equal((await root.tokenLookupAccessor({ accessor: auth.accessor })).data.id, '');
  assert.ok((await root.tokenAccessors()).data.keys.includes(auth.accessor));
  assert.equal((await app.tokenRenewSelf({ increment: 1800 })).auth.lease_duration, 1800);
  const renewed = await as(root.token).tokenRenew({ token: auth.client_token, increment: '2h' });
  assert.equal(renewed.auth.lease_duration, 7200);

  const orphan = (await as(root.token).tokenCreateOrphan({ policies: ['app'], ttl: '1h' })).auth;
  assert.equal(orphan.orphan, true);
  await root.addTokenRole({ role_name: 'batch', allowed_policies: 'app', orphan: true, renewable: false, path_suffix: 'night' });
  assert.deepEqual((await root.tokenRoles()).data.keys, ['batch']);
  assert.deepEqual((await root.getTokenRole({ role_name: 'batch' })).data.allowed_policies, ['app']);
  const byRole = (await as(root.token).tokenCreateRole({ role_name: 'batch', ttl: '1h' })).auth;
  assert.deepEqual([byRole.renewable, byRole.orphan], [false, true]);
  await refused(400, '', () => as(root.token).tokenCreateRole({ role_name: 'batch', policies: ['other'] }));
  await root.removeTokenRole({ role_name: 'batch' });
  await refused(404, '', () => root.getTokenRole({ role_name: 'batch' }));

  await root.tokenRevoke({ token: byRole.client_token });
  await refused(403, '', () => root.tokenLookup({ token: byRole.client_token }));
  await root.tokenRevokeAccessor({ accessor: orphan.accessor });
  await refused(403, 'permission denied', () => as(orphan.client_token).tokenLookupSelf());
  await app.tokenRevokeSelf();
  await refused(403, 'permission denied', () => app.tokenLookupSelf());
  const parent = (await as(root.token).tokenCreate({ policies: ['root'], ttl: '1h' })).auth.client_token;
  const child = (await as(parent).tokenCreate({ policies: ['app'], ttl: '1h' })).auth.client_token;
  await root.tokenRevokeOrphan({ token: parent });
  assert.equal((await as(child).tokenLookupSelf()).data.orphan, true);
  await root.tokenRevoke({ token: child });
}

async function approle(root) {
  await root.enableAuth({ mount_point: 'approle', type: 'approle', description: 'machines' });
  assert.equal((await root.auths()).data['approle/'].type, 'approle');
  await root.enableAuth({ mount_point: 'robots', type: 'approle' });
  await refused(400, '', () => root.enableAuth({ mount_point: 'robots', type: 'approle' }));
  for (const mount_point of [undefined, 'robots']) {
    const role = { mount_point, role_name: 'app' };
    await root.addApproleRole({ ...role, policies: 'app', token_ttl: 1200, token_max_ttl: 3600, secret_id_num_uses: 2 });
    const read = (await root.getApproleRole(role)).data;
    assert.deepEqual([read.token_ttl, read.secret_id_num_uses], [1200, 2]);
    assert.deepEqual((await root.approleRoles({ mount_point })).data.keys, ['app']);
    await root.updateApproleRoleId({ ...role, role_id: `the-app-${mount_point}` });
    const { role_id } = (await root.getApproleRoleId(role)).data;
    assert.equal(role_id, `the-app-${mount_point}`);
    const made = (await root.getApproleRoleSecret({ ...role, metadata: '{"host":"a"}' })).data;
    const { secret_id, secret_id_accessor } = made;
    assert.equal((await root.approleSecretLookup({ ...role, secret_id })).data.metadata.host, 'a');
    assert.equal((await root.approleSecretAccessorLookup({ ...role, secret_id_accessor })).data.secret_id_num_uses, 2);
    assert.deepEqual((await root.approleSecretAccessors(role)).data.keys, [secret_id_accessor]);

    // A login gives the client its token.
    const machine = as('');
    const login = await machine.approleLogin({ mount_point, role_id, secret_id });
    assert.equal(machine.token, login.auth.client_token);
    assert.deepEqual([login.auth.policies, login.auth.lease_duration], [['app', 'default'], 1200]);
    assert.equal((await machine.read('secret/data/app/db')).data.data.user, 'a');
    await as('').approleLogin({ mount_point, role_id, secret_id });
    await refused(400, 'invalid role or secret ID', () => as('').approleLogin({ mount_point, role_id, secret_id }));
    for (const destroy of [root.approleSecretDestroy, root.approleSecretAccessorDestroy]) {
      const other = (await root.getApproleRoleSecret(role)).data;
      await destroy({ ...role, ...(destroy === root.approleSecretDestroy ? { secret_id: other.secret_id }
        : { secret_id_accessor: other.secret_id_accessor }) });
      await refused(400, '', () => as('').approleLogin({ mount_point, role_id, secret_id: other.secret_id }));
    }
    await root.deleteApproleRole(role);
    await refused(404, '', () => root.getApproleRole(role));
  }
  await root.disableAuth({ mount_point: 'robots' });
  assert.equal((await root.auths()).data['robots/'], undefined);
}

async function wrappings(root) {
  const wrapped = await root.read('secret/data/app/db', { headers: { 'X-Vault-Wrap-TTL': '60s' } });
  assert.deepEqual([wrapped.data, wrapped.wrap_info.ttl], [null, 60]);
  const { token } = wrapped.wrap_info;
  assert.equal((await root.write('sys/wrapping/lookup', { token })).data.creation_path, 'secret/data/app/db');
  // By its own token, and by another's.
  assert.equal((await as(token).unwrap()).data.data.user, 'a');
  await refused(400, 'wrapping token is not valid', () => root.unwrap({ token }));
  const other = (await root.write('sys/wrapping/wrap', { a: 1 }, { headers: { 'X-Vault-Wrap-TTL': '60s' } })).wrap_info.token;
  assert.deepEqual((await root.unwrap({ token: other })).data, { a: 1 });
}

async function leases(root) {
  const auth = (await as(root.token).tokenCreate({ policies: ['app'], ttl: '1h' })).auth;
  const keys = (await root.list('sys/leases/lookup/auth/token/create')).data.keys;
  const ids = keys.map((key) => `auth/token/create/${key}`);
  const before = await Promise.all(ids.map((lease_id) => root.write('sys/leases/lookup', { lease_id })));
  const lease_id = before.map((answer) => answer.data).sort((a, b) => (a.issue_time < b.issue_time ? 1 : -1))[0].id;
  await refused(400, '', () => root.renew({ lease_id: 'auth/token/create/none' }));
  await root.revoke({ lease_id });
  const isGone = (token) => as(token).tokenLookupSelf().then(() => false, (error) => error.response.statusCode === 403);
  await until('the end of a lease', () => isGone(auth.client_token));
  await root.addTokenRole({ role_name: 'night', allowed_policies: 'app' });
  const { client_token } = (await as(root.token).tokenCreateRole({ role_name: 'night', ttl: '1h' })).auth;
  await root.write('sys/leases/revoke-prefix/auth/token/create/night', {});
  await until('the end of a prefix', () => isGone(client_token));
}

async function audits(root) {
  const file = path.join(directory, 'node-vault.log');
  await root.enableAudit({ name: 'node', type: 'file', description: 'by node', options: { file_path: file } });
  assert.equal((await root.audits()).data['node/'].options.file_path, file);
  await root.read('secret/data/app/db');
  assert.ok(fs.readFileSync(file, 'utf8').includes('secret/data/app/db'));
  await root.disableAudit({ name: 'node' });
  assert.equal((await root.audits()).data['node/'], undefined);
}

async function errors(root) {
  const error = await refused(403, 'permission denied', () => as('nothing').read('secret/data/app/db'));
  assert.deepEqual(Object.keys(error.response), ['statusCode', 'body']);
  assert.ok(Array.isArray(error.response.body.errors));
  await refused(404, '', () => root.read('secret/data/nothing'));
  await refused(404, '', () => root.read('nowhere/x'));
  await refused(400, '', () => root.write('secret/data/app/db', { data: 'text' }));
}

async function rest(root, made) {
  const term = (await root.read('sys/key-status')).data.term;
  await root.rotate();
  assert.equal((await root.read('sys/key-status')).data.term, term + 1);
  await root.seal();
  assert.equal((await client.status()).sealed, true);
  await client.unseal({ key: made.keys[0] });
  await client.unseal({ key: made.keys[1] });
  assert.equal((await root.read('secret/data/app/db')).data.data.user, 'a');
}

async function main() {
  const made = await cluster();
  const root = as(made.root_token);
  for (const area of [mounts, secrets, policies, tokens, approle, wrappings, leases, audits, errors]) {
    await area(root).catch((error) => {
      error.message = `${area.name}: ${error.message}`;
      throw error;
    });
  }
  await rest(root, made);
  console.log('node-vault is content');
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
