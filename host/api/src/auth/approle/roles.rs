//! Roles, and a path for each of their settings.

use keyway_common::duration::Given;
use keyway_core::{
    approle::{AppRoleError, AppRoleRefusal, Role},
    token::{network_texts, plan::named},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::method::approles;
use crate::{
    answer::Answer,
    auth::{refuse_strict_binding, token_type, warned},
    error::ApiError,
    given::{Number, Text, Texts, Truth, seconds},
    route::RequestContext,
};

/// A missing field stays as it is. Vault has two names for some.
#[derive(Default, Deserialize)]
struct RoleRequest {
    role_id: Option<Text>,
    bind_secret_id: Option<Truth>,
    bound_cidr_list: Option<Texts>,
    secret_id_bound_cidrs: Option<Texts>,
    secret_id_num_uses: Option<Number>,
    secret_id_ttl: Option<Given>,
    policies: Option<Texts>,
    token_policies: Option<Texts>,
    token_ttl: Option<Given>,
    token_max_ttl: Option<Given>,
    token_explicit_max_ttl: Option<Given>,
    period: Option<Given>,
    token_period: Option<Given>,
    token_num_uses: Option<Number>,
    token_bound_cidrs: Option<Texts>,
    token_no_default_policy: Option<Truth>,
    token_type: Option<Text>,
    token_strictly_bind_ip: Option<Truth>,
    local_secret_ids: Option<Truth>,
    enable_local_secret_ids: Option<Truth>,
}

#[derive(Deserialize)]
struct RoleIdRequest {
    role_id: Option<Text>,
}

/// The settings that have their own path: its last part, and their names.
const FIELDS: [(&str, &str); 11] = [
    ("policies", "token_policies"),
    ("bind-secret-id", "bind_secret_id"),
    ("secret-id-num-uses", "secret_id_num_uses"),
    ("secret-id-ttl", "secret_id_ttl"),
    ("secret-id-bound-cidrs", "secret_id_bound_cidrs"),
    ("bound-cidr-list", "secret_id_bound_cidrs"),
    ("token-bound-cidrs", "token_bound_cidrs"),
    ("token-num-uses", "token_num_uses"),
    ("token-ttl", "token_ttl"),
    ("token-max-ttl", "token_max_ttl"),
    ("period", "token_period"),
];

/// The names that fields had once, and have now.
const OLD_NAMES: [(&str, &str); 3] = [
    ("policies", "token_policies"),
    ("period", "token_period"),
    ("bound_cidr_list", "secret_id_bound_cidrs"),
];

/// What `secret-id-bound-cidrs` was once called.
const OLD_NETWORKS: &str = "bound-cidr-list";

pub(super) async fn list(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Answer::names(&approles(context)?.roles().await?)
}

pub(super) async fn exists(context: &RequestContext<'_>) -> Result<bool, ApiError> {
    Ok(approles(context)?.role(context.name).await?.is_some())
}

/// The role that the path names.
pub(super) async fn role(context: &RequestContext<'_>) -> Result<Role, ApiError> {
    let role = approles(context)?.role(context.name).await?;
    role.ok_or_else(|| ApiError::Absent(format!("role {:?} does not exist", context.name)))
}

pub(super) async fn read(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::system(told(&approles(context)?.role(context.name).await?.ok_or(ApiError::NotFound)?)))
}

pub(super) async fn delete(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    approles(context)?.remove_role(context.name).await?;
    Ok(Answer::Nothing)
}

pub(super) async fn write(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    edit(context, &context.json()?).await
}

pub(super) async fn read_role_id(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::system(json!({ "role_id": role(context).await?.role_id })))
}

pub(super) async fn write_role_id(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: RoleIdRequest = context.json()?;
    role(context).await?;
    let role_id = request.role_id.filter(|id| id.filled().is_some());
    let role_id = Some(role_id.ok_or_else(|| ApiError::bad_request("missing role_id"))?);
    edit(context, &RoleRequest { role_id, ..RoleRequest::default() }).await
}

fn field(context: &RequestContext<'_>) -> Result<&'static str, ApiError> {
    let last = context.route.last_segment();
    FIELDS.iter().find(|(part, _)| *part == last).map(|(_, name)| *name).ok_or(ApiError::NotFound)
}

pub(super) async fn read_field(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (name, told) = (field(context)?, told(&role(context).await?));
    let value = told.get(name).cloned().unwrap_or_default();
    if context.route.last_segment() == OLD_NETWORKS {
        let warning = "The \"bound_cidr_list\" field is deprecated and will be removed. Please use \"secret_id_bound_cidrs\" instead.";
        let mut answer = Answer::system(json!({ "bound_cidr_list": value }));
        if let Answer::Logical(logical) = &mut answer {
            logical.warnings.push(warning.to_owned());
        }
        return Ok(answer);
    }
    let mut answer = Map::from_iter([(name.to_owned(), value.clone())]);
    // By the name that it once had, too, if it was written by it.
    if let Some((old, value)) = name.strip_prefix("token_").and_then(|old| told.get_key_value(old)) {
        answer.insert(old.clone(), value.clone());
    }
    Ok(Answer::system(answer))
}

pub(super) async fn write_field(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (name, body) = (field(context)?, context.json::<Map<String, Value>>()?);
    role(context).await?;
    let old = OLD_NAMES.iter().find(|(_, new)| *new == name).map_or(name, |(old, _)| *old);
    context.report(body.keys().filter(|field| *field != name && *field != old).cloned().collect())?;
    let (name, value) = body
        .get_key_value(name)
        .or_else(|| body.get_key_value(old))
        .ok_or_else(|| ApiError::bad_request(format!("missing {name}")))?;
    edit(context, &only(name, value.clone())?).await
}

pub(super) async fn reset_field(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let name = field(context)?;
    if !exists(context).await? {
        return Ok(Answer::Nothing);
    }
    // A list that is empty is shown as null, which would leave it as it is.
    let default = told(&Role::default()).remove(name).filter(|shown| !shown.is_null());
    let default = default.unwrap_or_else(|| json!([]));
    edit(context, &only(name, default)?).await
}

fn only(name: &str, value: Value) -> Result<RoleRequest, ApiError> {
    serde_json::from_value(Value::Object(Map::from_iter([(name.to_owned(), value)])))
        .map_err(|_| ApiError::bad_request(format!("{name} is of the wrong type")))
}

/// Secret ids that only one host knows: there are none.
pub(super) async fn read_local(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    role(context).await?;
    Ok(Answer::system(json!({ "local_secret_ids": false })))
}

async fn edit(context: &RequestContext<'_>, request: &RoleRequest) -> Result<Answer, ApiError> {
    refuse_strict_binding(request.token_strictly_bind_ip.as_ref())?;
    for given in [&request.local_secret_ids, &request.enable_local_secret_ids].into_iter().flatten() {
        if given.get() != Ok(false) {
            return Err(ApiError::bad_request("local_secret_ids is not supported"));
        }
    }
    let name = keyway_core::policy::name(context.name)
        .map_err(|_| ApiError::bad_request("this is no name for a role"))?;
    let (mut tried, mut warnings) = (Role::default(), Vec::new());
    request.apply(&mut tried)?;
    if request.token_type.as_ref().is_some_and(|kind| kind.0 == "default-service") {
        warnings.push("default-service has no useful meaning; adjusting to service".to_owned());
    }
    if tried.token_max_ttl > context.auth()?.1.tune.lifetimes().max {
        warnings.push(
            "token_max_ttl is greater than the backend mount's maximum TTL value; issued tokens' max TTL value will be truncated"
                .to_owned(),
        );
    }
    let edited = approles(context)?;
    edited
        .edit_role(&name, |role| {
            request.apply(role).map_err(|_| AppRoleRefusal::Role)?;
            check(role)
        })
        .await?;
    Ok(warned(warnings))
}

fn check(role: &Role) -> Result<(), AppRoleError> {
    if !role.bind_secret_id && role.secret_id_bound_cidrs.is_empty() && role.token_bound_cidrs.is_empty() {
        return Err(AppRoleRefusal::Unconstrained.into());
    }
    if role.token_max_ttl > 0 && role.token_ttl > role.token_max_ttl {
        return Err(AppRoleRefusal::TtlBeyondMax.into());
    }
    Ok(())
}

impl RoleRequest {
    fn apply(&self, role: &mut Role) -> Result<(), ApiError> {
        let said = |name: &'static str| move |why: String| ApiError::bad_request(format!("{name}: {why}"));
        if let Some(role_id) = self.role_id.as_ref().and_then(Text::filled) {
            if role_id.len() > 4_096 || role_id.trim() != role_id || role_id.chars().any(char::is_control) {
                return Err(ApiError::bad_request(
                    "role_id has at most 4096 bytes, and no blanks at its ends",
                ));
            }
            role_id.clone_into(&mut role.role_id);
        }
        for (name, given, present) in [
            ("bind_secret_id", &self.bind_secret_id, &mut role.bind_secret_id),
            ("token_no_default_policy", &self.token_no_default_policy, &mut role.token_no_default_policy),
        ] {
            if let Some(given) = given {
                *present = given.get().map_err(said(name))?;
            }
        }
        for (name, given, present) in [
            ("secret_id_num_uses", &self.secret_id_num_uses, &mut role.secret_id_num_uses),
            ("token_num_uses", &self.token_num_uses, &mut role.token_num_uses),
        ] {
            if let Some(given) = given {
                let number = given.get().map_err(said(name))?;
                *present = u64::try_from(number).map_err(|_| said(name)("it is negative".to_owned()))?;
            }
        }
        for (name, given, present) in [
            ("secret_id_ttl", &self.secret_id_ttl, &mut role.secret_id_ttl),
            ("token_ttl", &self.token_ttl, &mut role.token_ttl),
            ("token_max_ttl", &self.token_max_ttl, &mut role.token_max_ttl),
            ("token_explicit_max_ttl", &self.token_explicit_max_ttl, &mut role.token_explicit_max_ttl),
            ("token_period", &self.token_period.clone().or(self.period.clone()), &mut role.token_period),
        ] {
            if given.is_some() {
                *present = seconds(name, given.as_ref())?;
            }
        }
        if self.token_period.is_some() || self.period.is_some() {
            role.old_names.note("period", self.period.is_some());
        }
        for (name, given, present) in [
            (
                "secret_id_bound_cidrs",
                &self.secret_id_bound_cidrs.clone().or(self.bound_cidr_list.clone()),
                &mut role.secret_id_bound_cidrs,
            ),
            ("token_bound_cidrs", &self.token_bound_cidrs, &mut role.token_bound_cidrs),
        ] {
            if let Some(given) = given {
                *present = given.networks(name)?;
            }
        }
        if let Some(kind) = &self.token_type {
            let kind = token_type(&kind.0, "default")?;
            kind.trim_start_matches("default-").clone_into(&mut role.token_type);
        }
        if let Some(policies) = self.token_policies.as_ref().or(self.policies.as_ref()) {
            role.token_policies = named(&policies.get())?;
            role.old_names.note("policies", self.policies.is_some());
            if role.token_policies.iter().any(|policy| policy == keyway_core::policy::ROOT) {
                return Err(ApiError::bad_request("token_policies: AppRole gives no root tokens"));
            }
        }
        Ok(())
    }
}

/// A role as it is answered.
fn told(role: &Role) -> Map<String, Value> {
    let told = json!({
        "bind_secret_id": role.bind_secret_id,
        "local_secret_ids": false,
        "secret_id_bound_cidrs": (!role.secret_id_bound_cidrs.is_empty()).then_some(&role.secret_id_bound_cidrs),
        "secret_id_num_uses": role.secret_id_num_uses,
        "secret_id_ttl": role.secret_id_ttl,
        "token_bound_cidrs": network_texts(&role.token_bound_cidrs),
        "token_explicit_max_ttl": role.token_explicit_max_ttl,
        "token_max_ttl": role.token_max_ttl,
        "token_no_default_policy": role.token_no_default_policy,
        "token_num_uses": role.token_num_uses,
        "token_period": role.token_period,
        "token_policies": role.token_policies,
        "token_strictly_bind_ip": false,
        "token_ttl": role.token_ttl,
        "token_type": if role.token_type.is_empty() { "default" } else { &role.token_type },
    });
    let mut told = told.as_object().cloned().unwrap_or_default();
    for (old, value) in [("period", json!(role.token_period)), ("policies", json!(role.token_policies))] {
        if role.old_names.has(old) {
            told.insert(old.to_owned(), value);
        }
    }
    told
}
