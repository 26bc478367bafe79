//! The gate: takes a request to its route, once it is known who asks and that they may. Policy and endpoint
//! see the same path: decoded once, names in lower case if the endpoint has them so, a slash at the end of
//! lists and nowhere else.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use keyway_common::json::has_repeated_name;
use keyway_core::{
    Caller, CoreError,
    policy::{AccessQuestion, Capabilities, Operation},
};
use keyway_storage::prefetch::Prefetched;
use serde_json::{Map, Value};

use super::{
    action::Action,
    answer::Answer,
    audit::{AuditFacts, Trail},
    body,
    call::Call,
    error::ApiError,
    route::{Access, Mounted, RequestContext, Route},
    target::{self, Target},
    unnamed,
    unread::Unread,
    wrapping,
};

/// While the secrets of a mount are given versions; in OpenBao's words.
const UPGRADING: &str = "Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and \
                         will resume service shortly.";

/// Answers a request.
pub(super) async fn pass(call: &Call, body: Body, trail: &mut Trail) -> Result<Answer, ApiError> {
    let mut body = Some(body);
    let answer = pass_with(call, &mut body, trail).await;
    if let Some(unread) = body.filter(|_| answer.is_err()) {
        body::discard(unread).await;
    }
    answer
}

async fn pass_with(call: &Call, body: &mut Option<Body>, trail: &mut Trail) -> Result<Answer, ApiError> {
    let (found, mut prefetched) = prefetch(call).await?;
    if let Ok(Some(target)) = &found {
        call.label.set(target.table.base, target.route.pattern);
        if target.is_open(call) {
            return pass_open(call, target, &prefetched, body, trail).await;
        }
    }
    // A caller without the right to ask does not learn which routes exist.
    let unsealed = call.core.unsealed()?;
    let address = call.peer.map(|peer| peer.ip());
    let caller = call.core.caller(&unsealed, &call.work, call.token.as_ref(), address, &prefetched).await;
    let target = match found {
        Ok(Some(target)) => target,
        Ok(None) | Err(_) => {
            let caller = caller?;
            let allowed = may(&caller, operations(call.action), &call.action.policy_path(call.path.as_str()));
            let refusal = match found {
                _ if !allowed => ApiError::PermissionDenied,
                Err(error) => error,
                Ok(_) => target::none(call),
            };
            trail
                .ask(
                    call,
                    AuditFacts { caller: Some(&caller), refused: Some(&refusal), ..AuditFacts::default() },
                )
                .await?;
            let spent = spend(call, &unsealed, &caller, None).await?;
            return Err(if spent { refusal } else { ApiError::PermissionDenied });
        }
    };
    let caller = match caller {
        Err(CoreError::PermissionDenied)
            if call.token.is_some() && wrapping::opens_wrappings(target.route) =>
        {
            let body = body::read(call, body.take().unwrap_or_default(), target.route.body, true).await?;
            return Err(wrapping::refusal(call, &unsealed, &body).await);
        }
        caller => caller?,
    };
    // The secret was prefetched before the policies that decide over it were known. It is read again after
    // the decision.
    if caller.since > prefetched.clock()
        && let Some(place) = target.first_read(call)
    {
        prefetched.forget(&place);
    }
    let mut context = RequestContext {
        call,
        route: target.route,
        unread: Unread::default(),
        name: &target.name,
        unsealed: Some(unsealed),
        prefetched: &prefetched,
        caller: Some(caller),
        mounted: target.mounted,
        body: Bytes::new(),
        path: target.route.policy_path(call.path.as_str(), &target.name, call.action),
    };
    let authorised = authorise(&mut context, target.route, body).await;
    let known = AuditFacts {
        caller: context.caller.as_ref(),
        mounted: context.mounted.as_ref(),
        body: Some(&context.body),
        refused: authorised.as_ref().err(),
    };
    // Before the first effect, which is that a use of the token is counted.
    trail.ask(call, known).await?;
    let counted = spend(call, context.unsealed()?, context.caller()?, Some(target.route)).await?;
    authorised?;
    if !counted {
        return Err(ApiError::PermissionDenied);
    }
    if target.route.is_attempt {
        call.edge.clients.take_attempt(call.peer)?;
    }
    run(context).await
}

/// Runs the endpoint of a request that may pass.
async fn run(mut context: RequestContext<'_>) -> Result<Answer, ApiError> {
    let call = context.call;
    context.check_unread()?;
    if let Some(Mounted::Secrets { mount, .. }) = &context.mounted
        && mount.upgrade.is_some_and(|upgrade| !upgrade.serves)
    {
        return Err(ApiError::bad_request(UPGRADING));
    }
    if let Some(answer) = unnamed::answer(&context)? {
        return Ok(answer);
    }
    let answer = (context.route.run)(&context).await?.warning(std::mem::take(&mut context.unread).warning());
    match call.wrap_ttl {
        Some(ttl) => wrapping::wrap(&context, answer, ttl).await,
        None => Ok(answer),
    }
}

async fn pass_open(
    call: &Call,
    target: &Target,
    prefetched: &Prefetched,
    body: &mut Option<Body>,
    trail: &mut Trail,
) -> Result<Answer, ApiError> {
    if call.wrap_ttl.is_some() && !target.route.wraps {
        return Err(ApiError::bad_request("what needs no token cannot be wrapped"));
    }
    if target.route.is_attempt {
        call.edge.clients.take_attempt(call.peer)?;
    }
    let unsealed = call.core.unsealed().ok();
    let mounted = target.mounted.clone();
    let body = body::read(call, body.take().unwrap_or_default(), target.route.body, true).await?;
    let known = AuditFacts { mounted: mounted.as_ref(), body: Some(&body), ..AuditFacts::default() };
    trail.ask(call, known).await?;
    let path = target.route.policy_path(call.path.as_str(), &target.name, call.action);
    run(RequestContext {
        call,
        route: target.route,
        unread: Unread::default(),
        name: &target.name,
        unsealed,
        prefetched,
        caller: None,
        mounted,
        body,
        path,
    })
    .await
}

/// Finds the route, and prefetches in one call before any decision.
async fn prefetch(call: &Call) -> Result<(Result<Option<Target>, ApiError>, Prefetched), ApiError> {
    let found = target::of(call);
    let Ok(unsealed) = call.core.unsealed() else { return Ok((found, Prefetched::default())) };
    let known = found.as_ref().ok().and_then(Option::as_ref);
    let is_open = known.is_some_and(|target| target.is_open(call));
    // Health and unseal requests never touch the store. A request without a token, on a route that needs one,
    // is refused without the store too.
    let is_refused = call.token.is_none() && !is_open && !target::may_log_in(call);
    if is_refused || (is_open && known.is_some_and(|target| !target.needs_store(call))) {
        return Ok((found, Prefetched::default()));
    }
    let table = unsealed.mounts().current();
    let token = call.token.as_ref().filter(|_| !is_open);
    let first = known.and_then(|target| target.first_read(call));
    let prefetched = call.core.host_sync().prefetch(&unsealed, &call.work, token, first).await?;
    // The mounts may have changed meanwhile, by this host or another one.
    let found = if Arc::ptr_eq(&table, &unsealed.mounts().current()) { found } else { target::of(call) };
    Ok((found, prefetched))
}

/// The operations that an action may be; which one depends on the stored secret.
fn operations(action: Action) -> &'static [Operation] {
    match action {
        Action::Read => &[Operation::Read],
        Action::Write => &[Operation::Update, Operation::Create],
        Action::Patch => &[Operation::Patch],
        Action::Delete => &[Operation::Delete],
        Action::List => &[Operation::List],
        Action::Scan => &[Operation::Scan],
    }
}

fn may(caller: &Caller, operations: &[Operation], path: &str) -> bool {
    operations.iter().any(|operation| caller.acl.may(*operation, path))
}

/// Whether the caller may do this; reads the body on the way, once it is known that they may send one.
async fn authorise(
    context: &mut RequestContext<'_>,
    route: &Route,
    body: &mut Option<Body>,
) -> Result<(), ApiError> {
    let (call, path) = (context.call, context.path.clone());
    let path = path.as_str();
    let is_bound = !matches!(route.access, Access::Holder(_) | Access::Visitor(_));
    let acl = Arc::clone(&context.caller()?.acl);
    if is_bound {
        if !may(context.caller()?, operations(call.action), path) {
            return Err(ApiError::PermissionDenied);
        }
        if route.needs_sudo && !acl.has_sudo(path, call.action.is_of_folder()) {
            return Err(ApiError::PermissionDenied);
        }
    }
    context.body = body::read(call, body.take().unwrap_or_default(), route.body, false).await?;
    if !is_bound || acl.is_root() {
        return Ok(());
    }
    let operation = match call.action {
        Action::Read => Operation::Read,
        Action::Patch => Operation::Patch,
        Action::Delete => Operation::Delete,
        Action::List => Operation::List,
        Action::Scan => Operation::Scan,
        Action::Write => written(context, route, path).await?,
    };
    let parameters = if acl.looks_at_parameters(path) { parameters(context)? } else { Map::new() };
    let ask = AccessQuestion { operation, path, parameters: &parameters, wrapping_s: call.wrap_ttl };
    if acl.allows(&ask) { Ok(()) } else { Err(ApiError::PermissionDenied) }
}

/// Whether a write makes something or changes it, if that makes a difference to the caller.
async fn written(context: &RequestContext<'_>, route: &Route, path: &str) -> Result<Operation, ApiError> {
    let Some(exists) = route.exists else { return Ok(Operation::Update) };
    let granted =
        context.caller()?.acl.permissions(path, false).map(|found| found.capabilities).unwrap_or_default();
    if granted.has(Capabilities::CREATE | Capabilities::UPDATE) {
        return Ok(Operation::Update);
    }
    Ok(if exists(context).await? { Operation::Update } else { Operation::Create })
}

/// The fields of the body, or of the query if there is none.
fn parameters(context: &RequestContext<'_>) -> Result<Map<String, Value>, ApiError> {
    // As the endpoints read them: from the query if nothing is written, and from the body otherwise.
    if matches!(context.call.action, Action::Read) {
        return Ok(context.call.query_parameters());
    }
    // Two readers of such a body could see two different values.
    if std::str::from_utf8(&context.body).is_ok_and(has_repeated_name) {
        return Err(ApiError::bad_request("the body has the same name twice in one object"));
    }
    context.json()
}

/// Takes one of the uses of the token that is shown, whether or not it may do what it is shown for.
async fn spend(
    call: &Call,
    unsealed: &keyway_core::Unsealed,
    caller: &Caller,
    route: Option<&Route>,
) -> Result<bool, ApiError> {
    let is_wrapping = wrapping::is_wrapping(&caller.live.entry);
    if !is_wrapping && route.is_some_and(|route| route.is_free) {
        return Ok(true);
    }
    if is_wrapping && route.is_some_and(wrapping::keeps_its_token) {
        // Taking the answer out is its one use. Any other request spends the token, so that its owner notices
        // the attempt.
        return Ok(true);
    }
    Ok(unsealed.tokens(&call.work).spend(&caller.live).await?)
}
