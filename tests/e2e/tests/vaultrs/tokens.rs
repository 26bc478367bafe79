//! Tokens, wrappings and AppRole, by every call that vaultrs has.

use serde_json::{Value, json};
use vaultrs::{
    api::{
        self, ResponseWrapper, auth::approle::requests::*, kv2::requests::ReadSecretRequest,
        token::requests::*,
    },
    auth::approle::{self, role as approles, role::secret as secret_ids},
    client::Client,
    client::VaultClient,
    error::ClientError,
    kv2,
    sys::{auth, policy, wrapping},
    token::{self, role as token_roles},
};

use crate::calls::{DENIED, about, has, holder, map, names, read, refuses, with};

pub(crate) async fn judge(root: &VaultClient) {
    made_tokens(root).await;
    prolonged_tokens(root).await;
    ended_tokens(root).await;
    roles_of_tokens(root).await;
    wrappings(root).await;
    roles(root).await;
    logins(root).await;
    secret_ids_by_name(root).await;
}

async fn made_tokens(root: &VaultClient) {
    let mut opts = CreateTokenRequest::builder();
    opts.policies(names(&["p"])).ttl("1h").num_uses(5_u64).meta(map(&[("ü", "🔑")])).display_name("a b");
    let made = ok!(token::new(root, Some(&mut opts)));
    assert_eq!(
        (&made.policies, &made.token_policies),
        (&names(&["default", "p"]), &names(&["default", "p"]))
    );
    assert!(
        about(made.lease_duration, 3600) && made.renewable && !made.orphan && made.token_type == "service"
    );
    let told = json!({
        "accessor": made.accessor, "policies": made.policies, "meta": { "ü": "🔑" }, "num_uses": 5,
        "display_name": "token-a-b", "path": "auth/token/create", "creation_ttl": 3600, "explicit_max_ttl": 0,
        "orphan": false, "renewable": true, "entity_id": "",
    });
    has(&ok!(token::lookup(root, &made.client_token)), told.clone());
    has(&ok!(token::lookup_accessor(root, &made.accessor)), told);
    assert!(ok!(token::lookup_accessor(root, &made.accessor)).id.is_empty());
    assert!(ok!(api::exec_with_result(root, ListAccessorRequest {})).keys.contains(&made.accessor));
    let own = ok!(with(root, &made.client_token).lookup());
    assert!(
        own.id == made.client_token && about(own.ttl, 3600) && own.expire_time > own.issue_time,
        "{own:?}"
    );
    assert_eq!(own.num_uses, 4);
    let told = json!({ "id": root.settings.token, "policies": ["root"], "ttl": 0, "expire_time": null });
    has(&ok!(token::lookup_self(root)), told);
    let mut opts = CreateOrphanTokenRequest::builder();
    let orphan = ok!(token::new_orphan(root, Some(opts.policies(names(&["p"])).period("1h"))));
    assert!(orphan.orphan && about(orphan.lease_duration, 3600), "{orphan:?}");
    let mut opts = CreateTokenRequest::builder();
    opts.id("chosen").policies(names(&["p"])).no_default_policy(true).no_parent(true).renewable(false);
    let chosen = ok!(token::new(root, Some(&mut opts)));
    assert!(
        chosen.client_token == "chosen" && chosen.policies == ["p"] && chosen.orphan && !chosen.renewable
    );
    no!(400; token::new(root, Some(&mut opts)));
    ok!(token::revoke(root, "chosen"), token::revoke(root, "chosen"));
    no!(403 "bad token"; token::lookup(root, "chosen"));
    let (new, opts) = (async |opts: &mut _| token::new(root, Some(opts)).await, CreateTokenRequest::builder);
    no!(400; new(opts().ttl("soon")), new(opts().token_type("x")));
}

async fn prolonged_tokens(root: &VaultClient) {
    let mut opts = CreateTokenRequest::builder();
    let made = ok!(token::new(root, Some(opts.policies(names(&["p"])).ttl("10m"))));
    let (own, accessor) = (&with(root, &made.client_token), &*made.accessor);
    // The client has a tab before the paths of what a token does by itself; what it sends has none.
    for (renewed, seconds) in [
        (ok!(token::renew(root, &made.client_token, Some("1h"))), 3600),
        // As long as the last time.
        (ok!(token::renew(root, &made.client_token, None)), 3600),
        (ok!(token::renew_self(own, Some("2h"))), 7200),
        (ok!(own.renew(Some("30m"))), 1800),
        (ok!(token::renew_accessor(root, accessor, Some("1h"))), 3600),
    ] {
        assert!(
            renewed.accessor == accessor && about(renewed.lease_duration, seconds),
            "{seconds}: {renewed:?}"
        );
    }
    assert!(about(ok!(own.lookup()).ttl, 3600));
    no!(400; token::renew(root, "nothing", None), token::renew(root, &made.client_token, Some("soon")),
        token::renew_self(root, None); 403; token::renew_self(&with(root, "nothing"), None));
    ok!(own.revoke());
    no!(403 DENIED; own.lookup(), token::renew_self(own, None), token::revoke_self(own);
        400; token::renew(root, &made.client_token, None));
}

async fn ended_tokens(root: &VaultClient) {
    ok!(policy::set(root, "maker", "path \"auth/token/create\" { capabilities = [\"update\"] }"));
    for orphans in [false, true] {
        let parent = holder(root, "maker").await;
        let child = ok!(token::new(&parent, None));
        assert!(!child.orphan && child.policies == ["default", "maker"], "{child:?}");
        let child = with(root, &child.client_token);
        if orphans {
            ok!(token::revoke_orphan(root, &parent.settings.token));
            let told = ok!(child.lookup());
            assert!(told.orphan, "{told:?}");
            ok!(token::revoke_accessor(root, &told.accessor));
        } else {
            ok!(token::revoke(root, &parent.settings.token));
        }
        no!(403 DENIED; parent.lookup(), child.lookup();
            403 "bad token"; token::lookup(root, &child.settings.token));
    }
    let mut opts = CreateTokenRequest::builder();
    let (maker, wide) = (holder(root, "maker").await, opts.policies(names(&["wide"])));
    no!(400 "child policies must be subset of parent"; token::new(&maker, Some(wide));
        400; token::revoke_orphan(root, "nothing"));
    ok!(policy::delete(root, "maker"), token::revoke_self(&maker), token::tidy(root));
    no!(400 "invalid accessor"; token::lookup_accessor(root, "nothing"), token::renew_accessor(root, "nothing", None));
    ok!(token::revoke_accessor(root, "nothing"));
}

async fn roles_of_tokens(root: &VaultClient) {
    no!(404; token_roles::list(root));
    let mut opts = SetTokenRoleRequest::builder();
    opts.allowed_policies(names(&["p", "q"]))
        .disallowed_policies(names(&["r"]))
        .orphan(true)
        .renewable(false);
    opts.path_suffix("night").token_period("1h").token_explicit_max_ttl("2h");
    ok!(token_roles::set(root, "jobs", Some(&mut opts)));
    let expected = json!({
        "name": "jobs", "allowed_policies": ["p", "q"], "disallowed_policies": ["r"], "orphan": true,
        "renewable": false, "path_suffix": "night", "token_period": 3600, "period": 0,
        "token_explicit_max_ttl": 7200, "explicit_max_ttl": 0, "token_type": "default-service",
    });
    has(&ok!(token_roles::read(root, "jobs")), expected);
    assert_eq!(ok!(token_roles::list(root)).keys, ["jobs"]);
    let made =
        ok!(token::new_role(root, "jobs", Some(CreateRoleTokenRequest::builder().policies(names(&["q"])))));
    assert!(made.policies == ["default", "q"] && made.orphan && !made.renewable, "{made:?}");
    let told = json!({ "path": "auth/token/create/jobs/night", "role": "jobs", "explicit_max_ttl": 0 });
    has(&ok!(token::lookup(root, &made.client_token)), told);
    assert_eq!(ok!(token::new_role(root, "jobs", None)).policies, ["default", "p", "q"]);
    let mut opts = CreateRoleTokenRequest::builder();
    no!(400; token::new_role(root, "jobs", Some(opts.policies(names(&["r"])))));
    ok!(token_roles::delete(root, "jobs"), token_roles::delete(root, "jobs"));
    no!(404; token_roles::read(root, "jobs"); 400 "unknown role"; token::new_role(root, "jobs", None));
}

async fn wrappings(root: &VaultClient) {
    const GONE: &str = "wrapping token is not valid or does not exist";
    ok!(kv2::set(root, "secret", "w", &json!({ "n": 1 })));
    let request = || ReadSecretRequest::builder().mount("secret").path("w").build().expect("a request");
    let wrapped = ok!(request().wrap(root));
    assert_eq!((wrapped.info.ttl, &*wrapped.info.creation_path), (600, "secret/data/w"));
    let told = ok!(wrapped.lookup(root));
    has(&told, json!({ "creation_ttl": 600, "creation_path": "secret/data/w" }));
    assert_eq!(told.creation_time, wrapped.info.creation_time);
    // The wrapping token alone is enough to look up the wrapping.
    has(&ok!(wrapping::lookup(&with(root, ""), &wrapped.info.token)), json!({ "creation_ttl": 600 }));
    let tried = ok!(request().wrap(root));
    no!(403; read(&with(root, &tried.info.token), "w"));
    no!(400 GONE; tried.unwrap(root));
    has(&ok!(wrapped.unwrap(root)).data, json!({ "n": 1 }));
    no!(400 GONE; wrapped.unwrap(root), wrapping::lookup(root, &wrapped.info.token));
    assert!(matches!(wrapped.lookup(root).await, Err(ClientError::WrapInvalidError)));
    let own = with(root, &ok!(request().wrap(root)).info.token);
    assert_eq!(ok!(wrapping::unwrap::<Value>(&own, None))["data"], json!({ "n": 1 }));
    no!(400 GONE; wrapping::unwrap::<Value>(&own, None), wrapping::unwrap::<Value>(root, None),
        wrapping::unwrap::<Value>(root, Some("nothing")), wrapping::lookup(root, &root.settings.token));
    ok!(kv2::delete_metadata(root, "secret", "w"));
    no!(404; request().wrap(root));
}

async fn roles(root: &VaultClient) {
    ok!(auth::enable(root, "approle", "approle", None));
    no!(404; approles::list(root, "approle"));
    let (set, opts) = (
        async |role: &str, opts: &mut _| approles::set(root, "approle", role, Some(opts)).await,
        SetAppRoleRequest::builder,
    );
    let mut web = opts();
    web.token_policies(names(&["p"]))
        .token_ttl("10m")
        .token_max_ttl("1h")
        .token_bound_cidrs(names(&["127.0.0.0/8"]));
    web.secret_id_ttl("2h").secret_id_num_uses(9_u64).token_num_uses(7_u64).token_explicit_max_ttl("30m");
    // A write of some fields leaves the others.
    ok!(
        set("web", &mut web),
        set("web", opts().token_num_uses(0_u64)),
        approles::set(root, "approle", "other", None)
    );
    let expected = json!({
        "bind_secret_id": true, "token_policies": ["p"], "token_ttl": 600, "token_max_ttl": 3600, "token_period": 0,
        "token_explicit_max_ttl": 1800, "token_num_uses": 0, "token_no_default_policy": false,
        "token_type": "default", "secret_id_ttl": 7200, "secret_id_num_uses": 9,
    });
    has(&ok!(approles::read(root, "approle", "web")), expected);
    assert_eq!(ok!(approles::list(root, "approle")).keys, ["other", "web"]);
    no!(400; set("bad", opts().bind_secret_id(false)), set("bad", opts().token_ttl("2h").token_max_ttl("1h")),
        set("bad", opts().token_bound_cidrs(names(&["nowhere"])));
        404; approles::read(root, "approle", "bad"), approles::read_id(root, "approle", "bad"),
        approles::update_id(root, "approle", "bad", "x"), secret_ids::generate(root, "approle", "bad", None),
        secret_ids::custom(root, "approle", "bad", "x", None), secret_ids::read(root, "approle", "bad", "x"));
    assert_eq!(ok!(approles::read_id(root, "approle", "web")).role_id.len(), 36);
    ok!(approles::update_id(root, "approle", "web", "by-hand"));
    has(&ok!(approles::read_id(root, "approle", "web")), json!({ "role_id": "by-hand" }));
}

async fn logins(root: &VaultClient) {
    let login = async |id: &str, secret: &str| approle::login(&with(root, ""), "approle", id, secret).await;
    let mut opts = GenerateNewSecretIDRequest::builder();
    opts.metadata("{\"tag\":\"x\"}").cidr_list(names(&["127.0.0.0/8"]));
    let made = ok!(secret_ids::generate(root, "approle", "web", Some(&mut opts)));
    assert!(made.secret_id_ttl == 7200 && made.secret_id != made.secret_id_accessor, "{made:?}");
    let auth = ok!(login("by-hand", &made.secret_id));
    assert!(auth.policies == ["default", "p"] && about(auth.lease_duration, 600) && auth.orphan, "{auth:?}");
    assert_eq!(auth.metadata, Some(map(&[("role_name", "web"), ("tag", "x")])));
    let told = json!({ "path": "auth/approle/login", "display_name": "approle", "explicit_max_ttl": 1800 });
    has(&ok!(with(root, &auth.client_token).lookup()), told);
    let known = ok!(secret_ids::read(root, "approle", "web", &made.secret_id));
    has(&known, json!({ "secret_id_num_uses": 8, "secret_id_ttl": 7200, "metadata": { "tag": "x" } }));
    has(&known, json!({ "secret_id_accessor": made.secret_id_accessor, "token_bound_cidrs": [] }));
    assert!(known.expiration_time > known.creation_time && known.cidr_list.len() == 1, "{known:?}");
    no!(400 "missing role_id"; login("", &made.secret_id); 400; login("by-hand", "");
        403; approle::login(&with(root, ""), "nowhere", "by-hand", "x"));
    ok!(secret_ids::delete(root, "approle", "web", &made.secret_id));
    no!(400 "invalid role or secret ID"; login("by-hand", &made.secret_id), login("unknown", &made.secret_id),
        login("by-hand", "wrong"); 204; secret_ids::read(root, "approle", "web", &made.secret_id));
}

async fn secret_ids_by_name(root: &VaultClient) {
    no!(404; secret_ids::list(root, "approle", "web"));
    let mut opts = CreateCustomSecretIDRequest::builder();
    opts.metadata("{\"a\":\"b\"}").token_bound_cidrs(names(&["127.0.0.1/32"]));
    let made = ok!(secret_ids::custom(root, "approle", "web", "by hand", Some(&mut opts)));
    let accessor = &*made.secret_id_accessor;
    assert_eq!(
        (&*made.secret_id, ok!(secret_ids::list(root, "approle", "web")).keys),
        ("by hand", names(&[accessor]))
    );
    let known = ok!(secret_ids::read_accessor(root, "approle", "web", accessor));
    assert_eq!((known.metadata, known.token_bound_cidrs.len()), (Some(map(&[("a", "b")])), 1));
    no!(400 "already registered"; secret_ids::custom(root, "approle", "web", "by hand", None);
        400; secret_ids::custom(root, "approle", "web", "", None);
        404 "failed to find accessor entry"; secret_ids::read_accessor(root, "approle", "web", "nothing");
        404; secret_ids::read_accessor(root, "approle", "other", accessor),
        secret_ids::delete_accessor(root, "approle", "web", "nothing");
        204; secret_ids::read(root, "approle", "other", "by hand"));
    ok!(secret_ids::delete(root, "approle", "web", "nothing"));
    ok!(secret_ids::delete_accessor(root, "approle", "web", accessor), approle::tidy(root, "approle"));
    no!(400 "invalid role or secret ID"; approle::login(root, "approle", "by-hand", "by hand");
        404; secret_ids::read_accessor(root, "approle", "web", accessor));
    ok!(approles::delete(root, "approle", "web"), approles::delete(root, "approle", "web"));
    no!(404; approles::read(root, "approle", "web"));
    ok!(auth::disable(root, "approle"));
}
