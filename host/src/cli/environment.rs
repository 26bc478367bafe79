//! Settings in the environment. Each name has three prefixes: Keyway's own, OpenBao's and Vault's; the first
//! one that is set counts. A variable of OpenBao's client is honoured or refused. A command that ignored a
//! namespace or a limit would not do what its user means.

use std::{env, ffi::OsString, time::Duration};

use clap::ValueEnum;
use keyway_common::duration;

use super::failure::Failure;
use keyway_terminal::output::Format;

const PREFIXES: [&str; 3] = ["KEYWAY", "BAO", "VAULT"];

/// The variables of a process.
#[derive(Clone, Copy)]
pub(super) struct Environment<'a> {
    get: &'a dyn Fn(&str) -> Option<OsString>,
}

/// A variable that is set.
#[derive(Debug)]
pub(super) struct Variable<T> {
    /// With its prefix.
    pub(super) name: String,
    pub(super) value: T,
}

/// A setting of other clients that Keyway has nothing for.
struct Unsupported {
    setting: &'static str,
    /// Whether a value asks for what Keyway does anyway.
    is_harmless: fn(&str) -> bool,
    /// Why it is refused, and what to do instead.
    reason: &'static str,
}

const UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        setting: "NAMESPACE",
        // OpenBao's name for the namespace outside of all others.
        is_harmless: |value| ["", "root"].contains(&value.trim_matches('/')),
        reason: "Keyway has no namespaces; unset it, and write whole paths",
    },
    Unsupported {
        setting: "SKIP_VERIFY",
        is_harmless: is_false,
        reason: "Keyway always checks the server's certificate; unset it, and name the certificate with --ca-cert",
    },
    Unsupported {
        setting: "WRAP_TTL",
        is_harmless: is_zero,
        reason: "these commands do not wrap answers; unset it, or send the header X-Vault-Wrap-TTL with another client",
    },
    Unsupported { setting: "MFA", is_harmless: |_| false, reason: "Keyway has no MFA; unset it" },
    Unsupported {
        setting: "HEADERS",
        is_harmless: |_| false,
        reason: "these commands send no further headers; unset it",
    },
    Unsupported {
        setting: "SRV_LOOKUP",
        is_harmless: is_false,
        reason: "these commands look no SRV records up; unset it, and name host and port with --address",
    },
    Unsupported {
        setting: "AGENT_ADDR",
        is_harmless: |_| false,
        reason: "unset it, and name the agent's address with --address",
    },
    Unsupported { setting: "HTTP_PROXY", is_harmless: |_| false, reason: NO_PROXY },
    Unsupported { setting: "PROXY_ADDR", is_harmless: |_| false, reason: NO_PROXY },
    Unsupported {
        setting: "RATE_LIMIT",
        is_harmless: |_| false,
        reason: "these commands keep to no rate; unset it",
    },
    Unsupported {
        setting: "MAX_RETRIES",
        is_harmless: is_zero,
        reason: "these commands send a request once, since a repeated change may happen twice; unset it",
    },
    Unsupported {
        setting: "DETAILED",
        is_harmless: is_false,
        reason: "lists have no details; unset it, and use `keyway kv metadata get`",
    },
    Unsupported {
        setting: "TOKEN_PATH",
        is_harmless: |_| false,
        reason: "`keyway login` keeps tokens in its own file; unset it, and set KEYWAY_TOKEN",
    },
];

const NO_PROXY: &str = "these commands connect to the server directly; unset it";

fn is_zero(value: &str) -> bool {
    duration::parse(value) == Ok(0)
}

/// As Go's `strconv.ParseBool` reads it.
fn is_false(value: &str) -> bool {
    ["0", "f", "F", "false", "False", "FALSE"].contains(&value)
}

impl<'a> Environment<'a> {
    /// The variables of this process.
    pub(super) fn of_process() -> Environment<'static> {
        Environment { get: &|name| env::var_os(name) }
    }

    /// The value of a setting, without the white space around it; none if it is not set or empty.
    ///
    /// # Errors
    ///
    /// If it is not Unicode.
    pub(super) fn text(self, setting: &str) -> Result<Option<Variable<String>>, Failure> {
        for name in PREFIXES.map(|prefix| format!("{prefix}_{setting}")) {
            let Some(value) = (self.get)(&name) else { continue };
            let value = value.into_string().map_err(|_| Failure::Usage(format!("{name} is not Unicode")))?;
            if !value.trim().is_empty() {
                return Ok(Some(Variable { name, value: value.trim().to_owned() }));
            }
        }
        Ok(None)
    }

    /// How results are printed.
    ///
    /// # Errors
    ///
    /// If it names no format that there is.
    pub(super) fn format(self) -> Result<Option<Format>, Failure> {
        let Some(Variable { name, value }) = self.text("FORMAT")? else { return Ok(None) };
        Format::from_str(&value, true)
            .map(Some)
            .map_err(|_| Failure::Usage(format!("{name} is {value:?}; results are printed as table or json")))
    }

    /// How long an answer is waited for; none if it is not set, and zero for as long as it takes.
    ///
    /// # Errors
    ///
    /// If it is no duration.
    pub(super) fn timeout(self) -> Result<Option<Duration>, Failure> {
        let Some(Variable { name, value }) = self.text("CLIENT_TIMEOUT")? else { return Ok(None) };
        let wrong = |reason: &str| Failure::Usage(format!("{name} is {value:?}: {reason}"));
        let nanoseconds = duration::parse(&value).map_err(|reason| wrong(&reason))?;
        let nanoseconds = u64::try_from(nanoseconds).map_err(|_| wrong("it is negative"))?;
        Ok(Some(Duration::from_nanos(nanoseconds)))
    }

    /// Refuses settings that Keyway has nothing for, unless they ask for what it does anyway.
    ///
    /// # Errors
    ///
    /// The first of them, by the name of its variable.
    pub(super) fn refuse_unsupported(self) -> Result<(), Failure> {
        for Unsupported { setting, is_harmless, reason } in UNSUPPORTED {
            if let Some(Variable { name, value }) = self.text(setting)?
                && !is_harmless(&value)
            {
                return Err(Failure::Usage(format!("{name} is set: {reason}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given<T>(variables: &[(&str, &str)], ask: impl Fn(Environment<'_>) -> T) -> T {
        ask(Environment {
            get: &|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()),
        })
    }

    #[test]
    fn first_prefix_that_says_something_counts_without_white_space() {
        let variables = [("KEYWAY_TOKEN", " \n"), ("VAULT_TOKEN", "vault"), ("BAO_TOKEN", "\t bao \r\n")];
        let token = given(&variables, |environment| environment.text("TOKEN").unwrap().unwrap());
        assert_eq!((token.name.as_str(), token.value.as_str()), ("BAO_TOKEN", "bao"));
        assert!(given(&[], |environment| environment.text("TOKEN").unwrap()).is_none());
    }

    #[test]
    fn unsupported_settings_are_refused_unless_they_change_nothing() {
        let refused = |variables: &[(&str, &str)]| {
            given(variables, |environment| environment.refuse_unsupported()).err().map(|failure| {
                assert_eq!(failure.exit_code(), 2);
                failure.message().to_owned()
            })
        };
        for (name, value) in [
            ("VAULT_NAMESPACE", "team/"),
            ("BAO_SKIP_VERIFY", "1"),
            ("VAULT_SKIP_VERIFY", "perhaps"),
            ("VAULT_WRAP_TTL", "5m"),
            ("VAULT_MFA", "x"),
            ("BAO_MAX_RETRIES", "3"),
        ] {
            assert!(refused(&[(name, value)]).is_some_and(|said| said.starts_with(name)), "{name}={value}");
        }
        for (name, value) in [
            ("VAULT_NAMESPACE", "/"),
            ("BAO_NAMESPACE", "root/"),
            ("VAULT_SKIP_VERIFY", "FALSE"),
            ("VAULT_WRAP_TTL", "0s"),
            ("VAULT_MAX_RETRIES", "0"),
        ] {
            assert_eq!(refused(&[(name, value)]), None, "{name}={value}");
        }
        assert_eq!(refused(&[("BAO_NAMESPACE", "root"), ("VAULT_NAMESPACE", "team")]), None);
    }

    #[test]
    fn timeouts_are_durations_and_formats_those_that_there_are() {
        let timeout = |value| given(&[("VAULT_CLIENT_TIMEOUT", value)], |environment| environment.timeout());
        assert_eq!(timeout("90").unwrap(), Some(Duration::from_secs(90)));
        assert_eq!(timeout("1m30s").unwrap(), Some(Duration::from_secs(90)));
        assert!(timeout("-1").is_err() && timeout("soon").is_err());
        let format = |value| given(&[("BAO_FORMAT", value)], |environment| environment.format());
        assert_eq!(format("JSON").unwrap(), Some(Format::Json));
        assert!(format("yaml").is_err_and(|failure| failure.message().contains("BAO_FORMAT")));
    }
}
