//! The system's endpoints: [`access`] (policies, auth methods, leases), [`keys`] (init, unseal, seal, rotate,
//! rekeying, root tokens), [`audit`] devices, [`mounts`] (with tune, remount and what a user interface asks),
//! [`backends`] (with swap), [`watch`] (health, measurements, the host), [`plugins`] (their catalog).

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
        Route::new(Read, "sys/health", |context| Box::pin(health::health(context)))
            .query(HEALTH)
            .open(FOR_WATCHERS)
            .monitoring(),
        Route::new(Read, "sys/seal-status", |context| Box::pin(seal::status(context)))
            .open("a sealed server can check no token")
            .monitoring(),
        Route::new(Read, "sys/leader", |context| Box::pin(seal::leader(context)))
            .open("clients ask before they have a token")
            .without_store(),
        Route::new(Read, "sys/init", |context| Box::pin(seal::is_initialised(context)))
            .open(NO_TOKEN_YET)
            .unshed(),
        Route::new(Write, "sys/init", |context| Box::pin(seal::init(context)))
            .refusing(unsupported::INIT)
            .open(NO_TOKEN_YET)
            .unshed()
            .attempt(),
        Route::new(Write, "sys/unseal", |context| Box::pin(seal::unseal(context)))
            .open("a share is what is shown")
            .unshed()
            .attempt(),
        Route::new(Write, "sys/seal", |context| Box::pin(seal::seal(context)))
            .without_fields()
            .sudo()
            .open_while_sealed(),
        Route::new(Write, "sys/rotate", |context| Box::pin(seal::rotate(context))).without_fields().sudo(),
        Route::new(Write, "sys/rotate/keyring", |context| Box::pin(seal::rotate(context)))
            .without_fields()
            .sudo(),
        Route::new(Read, "sys/reencrypt", |context| Box::pin(reencryption::status(context))),
        Route::new(Write, "sys/reencrypt", |context| Box::pin(reencryption::begin(context)))
            .without_fields()
            .sudo(),
        Route::new(Delete, "sys/reencrypt", |context| Box::pin(reencryption::cancel(context))).sudo(),
        Route::new(Read, "sys/rekey/init", |context| Box::pin(ceremonies::rekey_status(context))).ceremony(),
        Route::new(Write, "sys/rekey/init", |context| Box::pin(ceremonies::begin_rekey(context)))
            .refusing(unsupported::REKEY)
            .ceremony()
            .attempt(),
        Route::new(Delete, "sys/rekey/init", |context| Box::pin(ceremonies::cancel_rekey(context)))
            .ceremony()
            .attempt(),
        Route::new(Write, "sys/rekey/update", |context| Box::pin(ceremonies::rekey(context)))
            .ceremony()
            .attempt(),
        Route::new(Read, "sys/rekey/verify", |context| Box::pin(ceremonies::verification_status(context)))
            .ceremony(),
        Route::new(Write, "sys/rekey/verify", |context| Box::pin(ceremonies::verify(context)))
            .ceremony()
            .attempt(),
        Route::new(Delete, "sys/rekey/verify", |context| Box::pin(ceremonies::restart_verification(context)))
            .ceremony()
            .attempt(),
        Route::new(Read, "sys/rekey/backup", |context| Box::pin(ceremonies::backup(context))),
        Route::new(Delete, "sys/rekey/backup", |context| Box::pin(ceremonies::remove_backup(context))),
        Route::new(Read, "sys/generate-root/attempt", |context| Box::pin(ceremonies::root_status(context)))
            .ceremony(),
        Route::new(Write, "sys/generate-root/attempt", |context| Box::pin(ceremonies::begin_root(context)))
            .refusing(unsupported::ROOT)
            .ceremony()
            .attempt(),
        Route::new(Delete, "sys/generate-root/attempt", |context| Box::pin(ceremonies::cancel_root(context)))
            .ceremony()
            .attempt(),
        Route::new(Write, "sys/generate-root/update", |context| Box::pin(ceremonies::root(context)))
            .ceremony()
            .attempt(),
        // The names that OpenBao has given them.
        Route::new(Read, "sys/rotate/root/init", |context| Box::pin(ceremonies::rekey_status(context)))
            .ceremony(),
        Route::new(Write, "sys/rotate/root/init", |context| Box::pin(ceremonies::begin_rekey(context)))
            .refusing(unsupported::REKEY)
            .ceremony()
            .attempt(),
        Route::new(Delete, "sys/rotate/root/init", |context| Box::pin(ceremonies::cancel_rekey(context)))
            .ceremony()
            .attempt(),
        Route::new(Write, "sys/rotate/root/update", |context| Box::pin(ceremonies::rekey(context)))
            .ceremony()
            .attempt(),
        Route::new(Read, "sys/rotate/root/verify", |context| {
            Box::pin(ceremonies::verification_status(context))
        })
        .ceremony(),
        Route::new(Write, "sys/rotate/root/verify", |context| Box::pin(ceremonies::verify(context)))
            .ceremony()
            .attempt(),
        Route::new(Delete, "sys/rotate/root/verify", |context| {
            Box::pin(ceremonies::restart_verification(context))
        })
        .ceremony()
        .attempt(),
        Route::new(Read, "sys/rotate/root/backup", |context| Box::pin(ceremonies::backup(context))),
        Route::new(Delete, "sys/rotate/root/backup", |context| Box::pin(ceremonies::remove_backup(context))),
        Route::new(Read, "sys/generate-root-token/attempt", |context| {
            Box::pin(ceremonies::root_status(context))
        })
        .ceremony(),
        Route::new(Write, "sys/generate-root-token/attempt", |context| {
            Box::pin(ceremonies::begin_root(context))
        })
        .refusing(unsupported::ROOT)
        .ceremony()
        .attempt(),
        Route::new(Delete, "sys/generate-root-token/attempt", |context| {
            Box::pin(ceremonies::cancel_root(context))
        })
        .ceremony()
        .attempt(),
        Route::new(Write, "sys/generate-root-token/update", |context| Box::pin(ceremonies::root(context)))
            .ceremony()
            .attempt(),
        Route::new(Read, "sys/unseal-password", |context| Box::pin(password::read(context))).sudo(),
        Route::new(Write, "sys/unseal-password", |context| Box::pin(password::write(context))).sudo(),
        Route::new(Delete, "sys/unseal-password", |context| Box::pin(password::delete(context))).sudo(),
        Route::new(Read, "sys/key-status", |context| Box::pin(seal::key_status(context))),
        Route::new(Read, "sys/metrics", |context| Box::pin(metrics::metrics(context)))
            .query(&["format"])
            .opened_by(Setting::Metrics)
            .monitoring(),
        Route::new(Read, "sys/host-info", |context| Box::pin(host::info(context))),
        Route::new(Read, "sys/ha-status", |context| Box::pin(host::hosts(context))),
        Route::new(Read, "sys/in-flight-req", |context| Box::pin(host::requests(context))),
        Route::new(List, "sys/version-history", |context| Box::pin(host::versions(context))),
        Route::new(Read, "sys/plugins/catalog", |context| Box::pin(plugins::all(context))),
        Route::new(List, "sys/plugins/catalog/{path}", |context| Box::pin(plugins::list(context))).sudo(),
        Route::new(Read, "sys/plugins/catalog/{path}", |context| Box::pin(plugins::one(context))).sudo(),
        Route::new(Read, "sys/backends", |context| Box::pin(backends::all(context))),
        Route::new(Read, "sys/backends/{name}", |context| Box::pin(backends::one(context))),
        Route::new(Write, "sys/backends/{name}/swap", |context| Box::pin(backends::swap::swap(context)))
            .refusing(unsupported::SWAP)
            .sudo(),
        Route::new(Write, "sys/backends/{name}/upgrade", |context| {
            Box::pin(backends::swap::upgrade(context))
        })
        .without_fields()
        .sudo(),
        Route::new(Write, "sys/backends/{name}/rollback", |context| {
            Box::pin(backends::swap::roll_back(context))
        })
        .refusing(unsupported::SWAP)
        .sudo(),
        Route::new(Read, "sys/internal/ui/mounts", |context| Box::pin(ui::all(context)))
            .visitors(FILTERED)
            .free(),
        Route::new(Read, "sys/internal/ui/mounts/{path}", |context| Box::pin(ui::one(context)))
            .holders(FILTERED)
            .free(),
        Route::new(Read, "sys/internal/ui/resultant-acl", |context| Box::pin(ui::resultant_acl(context))),
        Route::new(Read, "sys/mounts", |context| Box::pin(mounts::all(context))),
        Route::new(Read, "sys/mounts/{path}/tune", |context| Box::pin(tune::read(context))),
        Route::new(Write, "sys/mounts/{path}/tune", |context| Box::pin(tune::write(context)))
            .refusing(unsupported::TUNE),
        Route::new(Read, "sys/mounts/{path}", |context| Box::pin(mounts::one(context))),
        Route::new(Write, "sys/mounts/{path}", |context| Box::pin(mounts::make(context)))
            .refusing(unsupported::MOUNT),
        Route::new(Delete, "sys/mounts/{path}", |context| Box::pin(mounts::take_away(context))),
        Route::new(Write, "sys/remount", |context| Box::pin(remount::remount(context))).sudo(),
        Route::new(Read, "sys/remount/status/{name}", |context| Box::pin(remount::status(context))),
        Route::new(Read, "sys/auth", |context| Box::pin(methods::all(context))),
        Route::new(Read, "sys/auth/{path}/tune", |context| Box::pin(tune::read_auth(context))).sudo(),
        Route::new(Write, "sys/auth/{path}/tune", |context| Box::pin(tune::write_auth(context)))
            .refusing(unsupported::TUNE)
            .sudo(),
        Route::new(Read, "sys/auth/{path}", |context| Box::pin(methods::one(context))).sudo(),
        Route::new(Write, "sys/auth/{path}", |context| Box::pin(methods::enable(context)))
            .refusing(unsupported::MOUNT)
            .sudo(),
        Route::new(Delete, "sys/auth/{path}", |context| Box::pin(methods::disable(context))).sudo(),
        Route::new(Read, "sys/audit", |context| Box::pin(audit::all(context))).sudo(),
        Route::new(Write, "sys/audit/{path}", |context| Box::pin(audit::enable(context)))
            .refusing(unsupported::AUDIT)
            .sudo(),
        Route::new(Delete, "sys/audit/{path}", |context| Box::pin(audit::disable(context))).sudo(),
        Route::new(Write, "sys/audit-hash/{path}", |context| Box::pin(audit::hash(context))).sudo(),
        Route::new(Read, "sys/policy", |context| Box::pin(policies::all(context))),
        Route::new(List, "sys/policy", |context| Box::pin(policies::all(context))),
        Route::new(List, "sys/policy/{path}", |context| Box::pin(policies::all(context))).folding_case(),
        Route::new(Read, "sys/policy/{path}", |context| Box::pin(policies::read_rules(context)))
            .folding_case(),
        Route::new(Write, "sys/policy/{path}", |context| Box::pin(policies::write(context)))
            .refusing(unsupported::POLICY)
            .folding_case(),
        Route::new(Delete, "sys/policy/{path}", |context| Box::pin(policies::delete(context))).folding_case(),
        Route::new(List, "sys/policies/acl", |context| Box::pin(policies::list(context))),
        Route::new(List, "sys/policies/acl/{path}", |context| Box::pin(policies::list(context)))
            .folding_case(),
        Route::new(Read, "sys/policies/acl/{path}", |context| Box::pin(policies::read(context)))
            .folding_case(),
        Route::new(Write, "sys/policies/acl/{path}", |context| Box::pin(policies::write(context)))
            .refusing(unsupported::POLICY)
            .folding_case(),
        Route::new(Delete, "sys/policies/acl/{path}", |context| Box::pin(policies::delete(context)))
            .folding_case(),
        Route::new(Read, "sys/policies/spike/{path}", |context| Box::pin(policies::read_spike(context)))
            .folding_case(),
        Route::new(Write, "sys/policies/spike/{path}", |context| Box::pin(policies::write_spike(context)))
            .folding_case(),
        Route::new(Write, "sys/capabilities", |context| Box::pin(capabilities::of_token(context))),
        Route::new(Write, "sys/capabilities-self", |context| Box::pin(capabilities::of_self(context))),
        Route::new(Write, "sys/capabilities-accessor", |context| {
            Box::pin(capabilities::of_accessor(context))
        }),
        Route::new(Write, "sys/wrapping/wrap", |context| Box::pin(wrapping::wrap_body(context))).with_value(),
        Route::new(Write, "sys/wrapping/unwrap", |context| Box::pin(wrapping::unwrap(context)))
            .wrapping(Wrapping::Unwrap),
        Route::new(Write, "sys/wrapping/lookup", |context| Box::pin(wrapping::lookup(context)))
            .wrapping(Wrapping::Lookup)
            .open(A_WRAPPING)
            .attempt(),
        Route::new(Read, "sys/wrapping/lookup", |context| Box::pin(wrapping::lookup(context)))
            .wrapping(Wrapping::Lookup)
            .query(&["token"])
            .open(A_WRAPPING)
            .attempt(),
        Route::new(Write, "sys/wrapping/rewrap", |context| Box::pin(wrapping::rewrap(context)))
            .wrapping(Wrapping::Rewrap),
        Route::new(Write, "sys/leases/lookup", |context| Box::pin(leases::lookup(context))),
        Route::new(List, "sys/leases/lookup/{path}", |context| Box::pin(leases::list(context))).sudo(),
        Route::new(Write, "sys/leases/renew", |context| Box::pin(leases::renew(context))),
        Route::new(Write, "sys/leases/renew/{path}", |context| Box::pin(leases::renew(context))),
        Route::new(Write, "sys/renew", |context| Box::pin(leases::renew(context))),
        Route::new(Write, "sys/renew/{path}", |context| Box::pin(leases::renew(context))),
        Route::new(Write, "sys/leases/revoke", |context| Box::pin(leases::revoke(context))),
        Route::new(Write, "sys/leases/revoke/{path}", |context| Box::pin(leases::revoke(context))),
        Route::new(Write, "sys/revoke", |context| Box::pin(leases::revoke(context))),
        Route::new(Write, "sys/leases/revoke-prefix/{path}", |context| {
            Box::pin(leases::revoke_prefix(context))
        })
        .sudo(),
        Route::new(Write, "sys/leases/revoke-force/{path}", |context| {
            Box::pin(leases::revoke_prefix(context))
        })
        .sudo(),
        Route::new(Write, "sys/leases/tidy", |context| Box::pin(leases::tidy(context))).without_fields(),
    ],
};
