//! Making tokens.

use keyway_common::{clock::Time, duration::Given};
use keyway_core::{
    mounts::{Tune, auth::TOKEN},
    token::plan::{Maker, Wanted, plan},
};
use serde::Deserialize;

use crate::{
    answer::Answer,
    auth::auth,
    error::ApiError,
    given::{Number, Pairs, Text, Texts, Truth, seconds},
    route::RequestContext,
};

#[derive(Deserialize)]
struct CreateRequest {
    id: Option<Text>,
    policies: Option<Texts>,
    no_parent: Option<Truth>,
    no_default_policy: Option<Truth>,
    renewable: Option<Truth>,
    ttl: Option<Given>,
    /// What `ttl` was once called.
    lease: Option<Given>,
    explicit_max_ttl: Option<Given>,
    period: Option<Given>,
    num_uses: Option<Number>,
    display_name: Option<Text>,
    meta: Option<Pairs>,
    #[serde(rename = "type")]
    kind: Option<Text>,
    entity_alias: Option<Text>,
    role_name: Option<Text>,
}

pub(super) async fn create(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: CreateRequest = context.json()?;
    if request.role_name.as_ref().and_then(Text::filled).is_some() {
        // The gate has not checked whether the policies allow the role's path.
        return Err(ApiError::bad_request("role_name stands in the path: auth/token/create/NAME"));
    }
    make(context, request, None, false).await
}

/// A caller with this right does not need `sudo` for the field `no_parent`.
pub(super) async fn create_orphan(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    make(context, context.json()?, None, true).await
}

pub(super) async fn create_by_role(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    make(context, context.json()?, Some(context.name), false).await
}

async fn make(
    context: &RequestContext<'_>,
    request: CreateRequest,
    role: Option<&str>,
    is_orphan: bool,
) -> Result<Answer, ApiError> {
    let (unsealed, caller) = (context.unsealed()?, context.caller()?);
    let tokens = unsealed.tokens(&context.call.work);
    let role = match role {
        None => None,
        Some(name) => {
            let unknown = || ApiError::bad_request(format!("unknown role {name}"));
            Some(tokens.role(name).await?.ok_or_else(unknown)?)
        }
    };
    let mut wanted = request.wanted()?;
    wanted.by_orphans_path = is_orphan;
    let maker = Maker { live: &caller.live, has_sudo: caller.acl.has_sudo(&context.path, false) };
    let lifetimes = unsealed.mounts().current().auth().get(TOKEN).map(|mount| mount.tune).unwrap_or_default();
    let planned = plan(&wanted, maker, role.as_ref(), Tune::lifetimes(&lifetimes))?;
    let token = tokens.make(wanted.id.as_deref(), &planned.entry).await?;
    let mut warnings = planned.warnings;
    if wanted.id.is_some() {
        warnings.push(
            "An ID that was chosen can be guessed by others; tokens that the server chooses cannot"
                .to_owned(),
        );
    }
    for name in &planned.entry.policies {
        if unsealed.policies().get(unsealed.records(&context.call.work), name).await?.is_none() {
            warnings.push(format!("Policy {name:?} does not exist"));
        }
    }
    Ok(Answer::token(auth(&token, &planned.entry, Time::now()), warnings))
}

impl CreateRequest {
    fn wanted(&self) -> Result<Wanted, ApiError> {
        let said = |name: &'static str| move |why: String| ApiError::bad_request(format!("{name}: {why}"));
        let truth = |name, truth: &Option<Truth>, otherwise: bool| {
            truth.as_ref().map_or(Ok(otherwise), Truth::get).map_err(said(name))
        };
        // Honoured or refused, never ignored.
        match self.kind.as_ref().and_then(Text::filled) {
            None | Some("service") => {}
            Some("batch") => {
                return Err(ApiError::bad_request("type \"batch\" is not supported; write service"));
            }
            Some(_) => return Err(ApiError::bad_request("invalid 'token_type' value")),
        }
        if self.entity_alias.as_ref().and_then(Text::filled).is_some() {
            return Err(ApiError::bad_request("entity_alias is not supported"));
        }
        let id = self.id.as_ref().and_then(Text::filled).map(str::to_owned);
        if let Some(id) = &id {
            let is_plain = id.len() <= 256 && id.bytes().all(|byte| byte.is_ascii_graphic());
            // OpenBao's and Vault's clients read a prefix or a namespace out of a dot.
            if id.contains('.') {
                return Err(ApiError::bad_request("custom token ID cannot have a '.' in the value"));
            }
            if !is_plain {
                return Err(ApiError::bad_request("id: 1 to 256 visible ASCII characters"));
            }
        }
        let num_uses = self.num_uses.as_ref().map_or(Ok(0), Number::get).map_err(said("num_uses"))?;
        let ttl = match &self.ttl {
            None => seconds("lease", self.lease.as_ref())?,
            given => seconds("ttl", given.as_ref())?,
        };
        Ok(Wanted {
            id,
            policies: self.policies.as_ref().map(Texts::get_unparted),
            by_orphans_path: false,
            no_parent: truth("no_parent", &self.no_parent, false)?,
            no_default_policy: truth("no_default_policy", &self.no_default_policy, false)?,
            renewable: truth("renewable", &self.renewable, true)?,
            ttl,
            explicit_max_ttl: seconds("explicit_max_ttl", self.explicit_max_ttl.as_ref())?,
            period: seconds("period", self.period.as_ref())?,
            num_uses: u64::try_from(num_uses)
                .map_err(|_| ApiError::bad_request("number of uses cannot be negative"))?,
            display_name: self.display_name.clone().unwrap_or_default().0,
            meta: self.meta.as_ref().map(Pairs::get).transpose().map_err(said("meta"))?,
        })
    }
}
