//! Roles that tokens are made by.

use keyway_common::duration::Given;
use keyway_core::{
    mounts::auth::TOKEN,
    token::{TokenError, TokenRefusal, network_texts, plan::named, role::Role},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    auth::{newer, refuse_strict_binding, token_type, warned},
    error::ApiError,
    given::{Number, Text, Texts, Truth, seconds},
    route::RequestContext,
};

/// A missing field stays as it is. Vault has two names for some.
#[derive(Deserialize)]
struct RoleRequest {
    allowed_policies: Option<Texts>,
    allowed_policies_glob: Option<Texts>,
    disallowed_policies: Option<Texts>,
    disallowed_policies_glob: Option<Texts>,
    orphan: Option<Truth>,
    renewable: Option<Truth>,
    token_no_default_policy: Option<Truth>,
    period: Option<Given>,
    token_period: Option<Given>,
    explicit_max_ttl: Option<Given>,
    token_explicit_max_ttl: Option<Given>,
    token_num_uses: Option<Number>,
    bound_cidrs: Option<Texts>,
    token_bound_cidrs: Option<Texts>,
    path_suffix: Option<Text>,
    token_type: Option<Text>,
    token_strictly_bind_ip: Option<Truth>,
    allowed_entity_aliases: Option<Texts>,
}

pub(super) async fn list(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Answer::names(&context.unsealed()?.tokens(&context.call.work).roles().await?)
}

pub(super) async fn exists(context: &RequestContext<'_>) -> Result<bool, ApiError> {
    Ok(context.unsealed()?.tokens(&context.call.work).role(context.name).await?.is_some())
}

pub(super) async fn read(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let role =
        context.unsealed()?.tokens(&context.call.work).role(context.name).await?.ok_or(ApiError::NotFound)?;
    Ok(Answer::system(told(&role)))
}

pub(super) async fn delete(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    context.unsealed()?.tokens(&context.call.work).remove_role(context.name).await?;
    Ok(Answer::Nothing)
}

pub(super) async fn write(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: RoleRequest = context.json()?;
    refuse_strict_binding(request.token_strictly_bind_ip.as_ref())?;
    if request.allowed_entity_aliases.as_ref().is_some_and(|aliases| !aliases.get().is_empty()) {
        return Err(ApiError::bad_request("allowed_entity_aliases is not supported"));
    }
    let name = keyway_core::policy::name(context.name)
        .map_err(|_| ApiError::bad_request("this is no name for a role"))?;
    // Checked as a whole before anything is changed.
    let (mut tried, mut warnings) = (Role::default(), Vec::new());
    request.apply(&mut tried, &mut warnings)?;
    let max =
        context.unsealed()?.mounts().current().auth().get(TOKEN).map(|mount| mount.tune.lifetimes().max);
    if let Some(max) = max.filter(|max| tried.explicit_max_ttl > *max) {
        let given = tried.explicit_max_ttl;
        warnings.push(format!(
            "Given explicit max TTL of {given} is greater than system/mount allowed value of {max} seconds; tokens of this role are \
             bound by the lesser"
        ));
    }
    let edited = context.unsealed()?.tokens(&context.call.work);
    edited
        .edit_role(&name, |role| {
            request.apply(role, &mut Vec::new()).map_err(|_| TokenError::from(TokenRefusal::Role))
        })
        .await?;
    Ok(warned(warnings))
}

impl RoleRequest {
    fn apply(&self, role: &mut Role, warnings: &mut Vec<String>) -> Result<(), ApiError> {
        let said = |name: &'static str| move |why: String| ApiError::bad_request(format!("{name}: {why}"));
        let names = |given: &Option<Texts>, present: &mut Vec<String>| -> Result<(), ApiError> {
            if let Some(given) = given {
                *present = named(&given.get())?;
            }
            Ok(())
        };
        let globs = |given: &Option<Texts>, present: &mut Vec<String>| {
            if let Some(given) = given {
                *present = given.get().iter().map(|glob| glob.to_lowercase()).collect();
            }
        };
        names(&self.allowed_policies, &mut role.allowed_policies)?;
        names(&self.disallowed_policies, &mut role.disallowed_policies)?;
        globs(&self.allowed_policies_glob, &mut role.allowed_policies_glob);
        globs(&self.disallowed_policies_glob, &mut role.disallowed_policies_glob);
        for (name, given, present) in [
            ("orphan", &self.orphan, &mut role.orphan),
            ("renewable", &self.renewable, &mut role.renewable),
            ("token_no_default_policy", &self.token_no_default_policy, &mut role.no_default_policy),
        ] {
            if let Some(given) = given {
                *present = given.get().map_err(said(name))?;
            }
        }
        for (names, new, old, present) in [
            (("token_period", "period"), &self.token_period, &self.period, &mut role.period),
            (
                ("token_explicit_max_ttl", "explicit_max_ttl"),
                &self.token_explicit_max_ttl,
                &self.explicit_max_ttl,
                &mut role.explicit_max_ttl,
            ),
        ] {
            if let Some(given) = newer(names, new, old, warnings) {
                *present = seconds(names.0, Some(given))?;
                role.old_names.note(names.1, new.is_none());
            }
        }
        if let Some(kind) = &self.token_type {
            role.token_type = token_type(&kind.0, "")?;
            if matches!(role.token_type.as_str(), "" | "default") {
                return Err(ApiError::bad_request(format!("invalid 'token_type' value {:?}", kind.0)));
            }
        }
        if let Some(uses) = &self.token_num_uses {
            let uses = uses.get().map_err(said("token_num_uses"))?;
            role.num_uses =
                u64::try_from(uses).map_err(|_| said("token_num_uses")("it is negative".to_owned()))?;
        }
        let names = ("token_bound_cidrs", "bound_cidrs");
        if let Some(networks) = newer(names, &self.token_bound_cidrs, &self.bound_cidrs, warnings) {
            role.bound_cidrs = networks.networks("token_bound_cidrs")?;
            role.old_names.note(names.1, self.token_bound_cidrs.is_none());
        }
        if let Some(Text(suffix)) = &self.path_suffix {
            let is_plain = suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
            if !is_plain || suffix.contains("..") {
                return Err(said("path_suffix")("letters, digits, and -_./".to_owned()));
            }
            suffix.trim_matches('/').clone_into(&mut role.path_suffix);
        }
        Ok(())
    }
}

fn told(role: &Role) -> Value {
    let by_old_name = |name, value| if role.old_names.has(name) { value } else { 0 };
    let mut told = json!({
        "allowed_entity_aliases": null,
        "allowed_policies": role.allowed_policies,
        "allowed_policies_glob": role.allowed_policies_glob,
        "disallowed_policies": role.disallowed_policies,
        "disallowed_policies_glob": role.disallowed_policies_glob,
        "explicit_max_ttl": by_old_name("explicit_max_ttl", role.explicit_max_ttl),
        "name": role.name,
        "orphan": role.orphan,
        "path_suffix": role.path_suffix,
        "period": by_old_name("period", role.period),
        "renewable": role.renewable,
        "token_explicit_max_ttl": role.explicit_max_ttl,
        "token_no_default_policy": role.no_default_policy,
        "token_period": role.period,
        "token_type": if role.token_type.is_empty() { "default-service" } else { &role.token_type },
    });
    if let Some(fields) = told.as_object_mut() {
        let networks = (!role.bound_cidrs.is_empty()).then(|| json!(network_texts(&role.bound_cidrs)));
        let by_old_name = networks.clone().filter(|_| role.old_names.has("bound_cidrs"));
        let uses = (role.num_uses > 0).then(|| json!(role.num_uses));
        // Fields that are not set are left out.
        let set = [("token_bound_cidrs", networks), ("bound_cidrs", by_old_name), ("token_num_uses", uses)];
        fields.extend(set.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    told
}
