//! The system's endpoints: [`access`] (policies, auth methods, leases), [`keys`] (init, unseal, seal, rotate, rekeying, root tokens),
//! [`audit`] devices, [`mounts`] (with tune, remount and what a user interface asks), [`backends`] (with swap), [`watch`] (health,
//! measurements, the host), [`plugins`] (their catalog).

mod access;
mod audit;
mod backends;
mod keys;
mod mounts;
mod plugins;
mod version;
mod watch;

use self::{
    access::{capabilities, leases, methods, policies},
    keys::{ceremonies, password, reencryption, seal},
    mounts::{remount, tune, ui},
    watch::{health, host, metrics},
};
use super::{
    action::Action::{Delete, List, Read, Write},
    edge::Setting,
    route::{Route, Table, Wrapping},
    unsupported, wrapping,
};

/// What a health check may ask for.
const HEALTH: &[&str] = &[
    "activecode",
    "drsecondarycode",
    "perfstandbyok",
    "performancestandbycode",
    "sealedcode",
    "standbycode",
    "standbyok",
    "uninitcode",
];

const NO_TOKEN_YET: &str = "there is no token yet";
const FOR_WATCHERS: &str = "it is for monitoring";
const A_WRAPPING: &str = "the token of a wrapping is what is shown";
const FILTERED: &str = "it tells each token of what that token may use";

/// The routes of the system.
pub(super) static ROUTES: Table = Table {
    base: "",
    routes: &[
        Route::new(Read, "sys/health", |at| Box::pin(health::health(at)))
            .query(HEALTH)
            .open(FOR_WATCHERS)
            .monitoring(),
        Route::new(Read, "sys/seal-status", |at| Box::pin(seal::status(at)))
            .open("a sealed server can check no token")
            .monitoring(),
        Route::new(Read, "sys/leader", |at| Box::pin(seal::leader(at)))
            .open("clients ask before they have a token")
            .without_store(),
        Route::new(Read, "sys/init", |at| Box::pin(seal::is_initialised(at))).open(NO_TOKEN_YET).unshed(),
        Route::new(Write, "sys/init", |at| Box::pin(seal::init(at)))
            .refusing(unsupported::INIT)
            .open(NO_TOKEN_YET)
            .unshed()
            .attempt(),
        Route::new(Write, "sys/unseal", |at| Box::pin(seal::unseal(at)))
            .open("a share is what is shown")
            .unshed()
            .attempt(),
        Route::new(Write, "sys/seal", |at| Box::pin(seal::seal(at)))
            .without_fields()
            .sudo()
            .open_while_sealed(),
        Route::new(Write, "sys/rotate", |at| Box::pin(seal::rotate(at))).without_fields().sudo(),
        Route::new(Write, "sys/rotate/keyring", |at| Box::pin(seal::rotate(at))).without_fields().sudo(),
        Route::new(Read, "sys/reencrypt", |at| Box::pin(reencryption::status(at))),
        Route::new(Write, "sys/reencrypt", |at| Box::pin(reencryption::begin(at))).without_fields().sudo(),
        Route::new(Delete, "sys/reencrypt", |at| Box::pin(reencryption::cancel(at))).sudo(),
        Route::new(Read, "sys/rekey/init", |at| Box::pin(ceremonies::rekey_status(at))).ceremony(),
        Route::new(Write, "sys/rekey/init", |at| Box::pin(ceremonies::begin_rekey(at)))
            .refusing(unsupported::REKEY)
            .ceremony()
            .attempt(),
        Route::new(Delete, "sys/rekey/init", |at| Box::pin(ceremonies::cancel_rekey(at)))
            .ceremony()
            .attempt(),
        Route::new(Write, "sys/rekey/update", |at| Box::pin(ceremonies::rekey(at))).ceremony().attempt(),
        Route::new(Read, "sys/rekey/verify", |at| Box::pin(ceremonies::verification_status(at))).ceremony(),
        Route::new(Write, "sys/rekey/verify", |at| Box::pin(ceremonies::verify(at))).ceremony().attempt(),
        Route::new(Delete, "sys/rekey/verify", |at| Box::pin(ceremonies::restart_verification(at)))
            .ceremony()
            .attempt(),
        Route::new(Read, "sys/rekey/backup", |at| Box::pin(ceremonies::backup(at))),
        Route::new(Delete, "sys/rekey/backup", |at| Box::pin(ceremonies::remove_backup(at))),
        Route::new(Read, "sys/generate-root/attempt", |at| Box::pin(ceremonies::root_status(at))).ceremony(),
        Route::new(Write, "sys/generate-root/attempt", |at| Box::pin(ceremonies::begin_root(at)))
            .refusing(unsupported::ROOT)
            .ceremony()
            .attempt(),
        Route::new(Delete, "sys/generate-root/attempt", |at| Box::pin(ceremonies::cancel_root(at)))
            .ceremony()
            .attempt(),
        Route::new(Write, "sys/generate-root/update", |at| Box::pin(ceremonies::root(at)))
            .ceremony()
            .attempt(),
        // The names that OpenBao has given them.
        Route::new(Read, "sys/rotate/root/init", |at| Box::pin(ceremonies::rekey_status(at))).ceremony(),
        Route::new(Write, "sys/rotate/root/init", |at| Box::pin(ceremonies::begin_rekey(at)))
            .refusing(unsupported::REKEY)
            .ceremony()
            .attempt(),
        Route::new(Delete, "sys/rotate/root/init", |at| Box::pin(ceremonies::cancel_rekey(at)))
            .ceremony()
            .attempt(),
        Route::new(Write, "sys/rotate/root/update", |at| Box::pin(ceremonies::rekey(at)))
            .ceremony()
            .attempt(),
        Route::new(Read, "sys/rotate/root/verify", |at| Box::pin(ceremonies::verification_status(at)))
            .ceremony(),
        Route::new(Write, "sys/rotate/root/verify", |at| Box::pin(ceremonies::verify(at)))
            .ceremony()
            .attempt(),
        Route::new(Delete, "sys/rotate/root/verify", |at| Box::pin(ceremonies::restart_verification(at)))
            .ceremony()
            .attempt(),
        Route::new(Read, "sys/rotate/root/backup", |at| Box::pin(ceremonies::backup(at))),
        Route::new(Delete, "sys/rotate/root/backup", |at| Box::pin(ceremonies::remove_backup(at))),
        Route::new(Read, "sys/generate-root-token/attempt", |at| Box::pin(ceremonies::root_status(at)))
            .ceremony(),
        Route::new(Write, "sys/generate-root-token/attempt", |at| Box::pin(ceremonies::begin_root(at)))
            .refusing(unsupported::ROOT)
            .ceremony()
            .attempt(),
        Route::new(Delete, "sys/generate-root-token/attempt", |at| Box::pin(ceremonies::cancel_root(at)))
            .ceremony()
            .attempt(),
        Route::new(Write, "sys/generate-root-token/update", |at| Box::pin(ceremonies::root(at)))
            .ceremony()
            .attempt(),
        Route::new(Read, "sys/unseal-password", |at| Box::pin(password::read(at))).sudo(),
        Route::new(Write, "sys/unseal-password", |at| Box::pin(password::write(at))).sudo(),
        Route::new(Delete, "sys/unseal-password", |at| Box::pin(password::delete(at))).sudo(),
        Route::new(Read, "sys/key-status", |at| Box::pin(seal::key_status(at))),
        Route::new(Read, "sys/metrics", |at| Box::pin(metrics::metrics(at)))
            .query(&["format"])
            .opened_by(Setting::Metrics)
            .monitoring(),
        Route::new(Read, "sys/host-info", |at| Box::pin(host::info(at))),
        Route::new(Read, "sys/ha-status", |at| Box::pin(host::hosts(at))),
        Route::new(Read, "sys/in-flight-req", |at| Box::pin(host::requests(at))),
        Route::new(List, "sys/version-history", |at| Box::pin(host::versions(at))),
        Route::new(Read, "sys/plugins/catalog", |at| Box::pin(plugins::all(at))),
        Route::new(List, "sys/plugins/catalog/{path}", |at| Box::pin(plugins::list(at))).sudo(),
        Route::new(Read, "sys/plugins/catalog/{path}", |at| Box::pin(plugins::one(at))).sudo(),
        Route::new(Read, "sys/backends", |at| Box::pin(backends::all(at))),
        Route::new(Read, "sys/backends/{name}", |at| Box::pin(backends::one(at))),
        Route::new(Write, "sys/backends/{name}/swap", |at| Box::pin(backends::swap::swap(at)))
            .refusing(unsupported::SWAP)
            .sudo(),
        Route::new(Write, "sys/backends/{name}/upgrade", |at| Box::pin(backends::swap::upgrade(at)))
            .without_fields()
            .sudo(),
        Route::new(Write, "sys/backends/{name}/rollback", |at| Box::pin(backends::swap::roll_back(at)))
            .refusing(unsupported::SWAP)
            .sudo(),
        Route::new(Read, "sys/internal/ui/mounts", |at| Box::pin(ui::all(at))).visitors(FILTERED).free(),
        Route::new(Read, "sys/internal/ui/mounts/{path}", |at| Box::pin(ui::one(at)))
            .holders(FILTERED)
            .free(),
        Route::new(Read, "sys/internal/ui/resultant-acl", |at| Box::pin(ui::resultant_acl(at))),
        Route::new(Read, "sys/mounts", |at| Box::pin(mounts::all(at))),
        Route::new(Read, "sys/mounts/{path}/tune", |at| Box::pin(tune::read(at))),
        Route::new(Write, "sys/mounts/{path}/tune", |at| Box::pin(tune::write(at)))
            .refusing(unsupported::TUNE),
        Route::new(Read, "sys/mounts/{path}", |at| Box::pin(mounts::one(at))),
        Route::new(Write, "sys/mounts/{path}", |at| Box::pin(mounts::make(at))).refusing(unsupported::MOUNT),
        Route::new(Delete, "sys/mounts/{path}", |at| Box::pin(mounts::take_away(at))),
        Route::new(Write, "sys/remount", |at| Box::pin(remount::remount(at))).sudo(),
        Route::new(Read, "sys/remount/status/{name}", |at| Box::pin(remount::status(at))),
        Route::new(Read, "sys/auth", |at| Box::pin(methods::all(at))),
        Route::new(Read, "sys/auth/{path}/tune", |at| Box::pin(tune::read_auth(at))).sudo(),
        Route::new(Write, "sys/auth/{path}/tune", |at| Box::pin(tune::write_auth(at)))
            .refusing(unsupported::TUNE)
            .sudo(),
        Route::new(Read, "sys/auth/{path}", |at| Box::pin(methods::one(at))).sudo(),
        Route::new(Write, "sys/auth/{path}", |at| Box::pin(methods::enable(at)))
            .refusing(unsupported::MOUNT)
            .sudo(),
        Route::new(Delete, "sys/auth/{path}", |at| Box::pin(methods::disable(at))).sudo(),
        Route::new(Read, "sys/audit", |at| Box::pin(audit::all(at))).sudo(),
        Route::new(Write, "sys/audit/{path}", |at| Box::pin(audit::enable(at)))
            .refusing(unsupported::AUDIT)
            .sudo(),
        Route::new(Delete, "sys/audit/{path}", |at| Box::pin(audit::disable(at))).sudo(),
        Route::new(Write, "sys/audit-hash/{path}", |at| Box::pin(audit::hash(at))).sudo(),
        Route::new(Read, "sys/policy", |at| Box::pin(policies::all(at))),
        Route::new(List, "sys/policy", |at| Box::pin(policies::all(at))),
        Route::new(List, "sys/policy/{path}", |at| Box::pin(policies::all(at))).folding_case(),
        Route::new(Read, "sys/policy/{path}", |at| Box::pin(policies::read_rules(at))).folding_case(),
        Route::new(Write, "sys/policy/{path}", |at| Box::pin(policies::write(at)))
            .refusing(unsupported::POLICY)
            .folding_case(),
        Route::new(Delete, "sys/policy/{path}", |at| Box::pin(policies::delete(at))).folding_case(),
        Route::new(List, "sys/policies/acl", |at| Box::pin(policies::list(at))),
        Route::new(List, "sys/policies/acl/{path}", |at| Box::pin(policies::list(at))).folding_case(),
        Route::new(Read, "sys/policies/acl/{path}", |at| Box::pin(policies::read(at))).folding_case(),
        Route::new(Write, "sys/policies/acl/{path}", |at| Box::pin(policies::write(at)))
            .refusing(unsupported::POLICY)
            .folding_case(),
        Route::new(Delete, "sys/policies/acl/{path}", |at| Box::pin(policies::delete(at))).folding_case(),
        Route::new(Read, "sys/policies/spike/{path}", |at| Box::pin(policies::read_spike(at))).folding_case(),
        Route::new(Write, "sys/policies/spike/{path}", |at| Box::pin(policies::write_spike(at)))
            .folding_case(),
        Route::new(Write, "sys/capabilities", |at| Box::pin(capabilities::of_token(at))),
        Route::new(Write, "sys/capabilities-self", |at| Box::pin(capabilities::of_self(at))),
        Route::new(Write, "sys/capabilities-accessor", |at| Box::pin(capabilities::of_accessor(at))),
        Route::new(Write, "sys/wrapping/wrap", |at| Box::pin(wrapping::wrap_body(at))).with_value(),
        Route::new(Write, "sys/wrapping/unwrap", |at| Box::pin(wrapping::unwrap(at)))
            .wrapping(Wrapping::Unwrap),
        Route::new(Write, "sys/wrapping/lookup", |at| Box::pin(wrapping::lookup(at)))
            .wrapping(Wrapping::Lookup)
            .open(A_WRAPPING)
            .attempt(),
        Route::new(Read, "sys/wrapping/lookup", |at| Box::pin(wrapping::lookup(at)))
            .wrapping(Wrapping::Lookup)
            .query(&["token"])
            .open(A_WRAPPING)
            .attempt(),
        Route::new(Write, "sys/wrapping/rewrap", |at| Box::pin(wrapping::rewrap(at)))
            .wrapping(Wrapping::Rewrap),
        Route::new(Write, "sys/leases/lookup", |at| Box::pin(leases::lookup(at))),
        Route::new(List, "sys/leases/lookup/{path}", |at| Box::pin(leases::list(at))).sudo(),
        Route::new(Write, "sys/leases/renew", |at| Box::pin(leases::renew(at))),
        Route::new(Write, "sys/leases/renew/{path}", |at| Box::pin(leases::renew(at))),
        Route::new(Write, "sys/renew", |at| Box::pin(leases::renew(at))),
        Route::new(Write, "sys/renew/{path}", |at| Box::pin(leases::renew(at))),
        Route::new(Write, "sys/leases/revoke", |at| Box::pin(leases::revoke(at))),
        Route::new(Write, "sys/leases/revoke/{path}", |at| Box::pin(leases::revoke(at))),
        Route::new(Write, "sys/revoke", |at| Box::pin(leases::revoke(at))),
        Route::new(Write, "sys/leases/revoke-prefix/{path}", |at| Box::pin(leases::revoke_prefix(at))).sudo(),
        Route::new(Write, "sys/leases/revoke-force/{path}", |at| Box::pin(leases::revoke_prefix(at))).sudo(),
        Route::new(Write, "sys/leases/tidy", |at| Box::pin(leases::tidy(at))).without_fields(),
    ],
};
