//! Which device: its name, and where it writes. The configuration and the API say it in the same words, which
//! are Vault's.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// A device as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Its name, without slashes at the ends.
    pub name: String,
    /// `file` or `socket`.
    pub kind: String,
    /// For people.
    pub description: String,
    /// By their names.
    pub options: BTreeMap<String, String>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its name, without slashes at the ends.
    pub name: String,
    /// For people.
    pub description: String,
    /// Where it writes.
    pub target: Target,
}

/// Where a device writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To the end of a file, or into a FIFO.
    File {
        /// Absolute.
        path: PathBuf,
        /// The permissions of a file that is made.
        mode: u32,
    },
    /// To the listener at an address and port.
    Tcp(String),
    /// To the listener at a Unix socket.
    Unix(PathBuf),
}

impl DeviceRecord {
    /// The device that this says.
    ///
    /// # Errors
    ///
    /// The problem, and what to write instead.
    pub fn parse(&self) -> Result<Spec, String> {
        check_name(&self.name)?;
        let mut options = Options(self.options.clone());
        let target = match self.kind.as_str() {
            "file" => file(&mut options)?,
            "socket" => socket(&mut options)?,
            kind => {
                return Err(format!(
                    "there is no audit device of type {kind:?}; write \"file\" or \"socket\""
                ));
            }
        };
        options.refuse_rest()?;
        Ok(Spec { name: self.name.clone(), description: self.description.clone(), target })
    }
}

impl Spec {
    /// `file` or `socket`.
    pub fn kind(&self) -> &'static str {
        match self.target {
            Target::File { .. } => "file",
            Target::Tcp(_) | Target::Unix(_) => "socket",
        }
    }

    /// Its options by their names.
    pub fn options(&self) -> BTreeMap<&'static str, String> {
        match &self.target {
            Target::File { path, mode } => {
                [("file_path", path.display().to_string()), ("mode", format!("{mode:04o}"))].into()
            }
            Target::Tcp(address) => [("address", address.clone()), ("socket_type", "tcp".to_owned())].into(),
            Target::Unix(path) => {
                [("address", path.display().to_string()), ("socket_type", "unix".to_owned())].into()
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}

struct Options(BTreeMap<String, String>);

impl Options {
    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }

    /// Accepts options of Vault's with the one value that Keyway implements anyway, and refuses all others.
    fn refuse_rest(mut self) -> Result<(), String> {
        for (name, usual) in
            [("format", "json"), ("log_raw", "false"), ("hmac_accessor", "true"), ("prefix", "")]
        {
            if let Some(value) = self.take(name)
                && value != usual
            {
                return Err(format!("{name} = {value:?} is not supported; leave it out"));
            }
        }
        match self.0.into_iter().find(|(_, value)| !value.is_empty()) {
            Some((name, _)) => Err(format!("{name} is not an option of this audit device; leave it out")),
            None => Ok(()),
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if name.len() <= 128 && name.split('/').all(fits) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name of an audit device: write letters, digits, \"-\", \"_\", \".\" and \"/\""
    ))
}

fn file(options: &mut Options) -> Result<Target, String> {
    let (path, path_too) = (options.take("file_path"), options.take("path"));
    let path = path.or(path_too).ok_or("file_path is missing: where the device writes")?;
    let mode = options.take("mode");
    if path == "stdout" || path == "discard" {
        return Err(format!(
            "{path:?} is not supported: the lines of an audit log stand alone, and somewhere"
        ));
    }
    let path = absolute(&path, "file_path")?;
    let wrong = |mode: &str| format!("mode {mode:?} is no permissions in octal digits, as \"0600\"");
    let mode = match mode.as_deref() {
        None | Some("0" | "0000") => 0o600,
        Some(text) => {
            u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).ok_or_else(|| wrong(text))?
        }
    };
    if mode & 0o022 != 0 {
        return Err(format!("mode {mode:04o} lets others change the audit log; write \"0600\" or \"0640\""));
    }
    Ok(Target::File { path, mode })
}

fn socket(options: &mut Options) -> Result<Target, String> {
    let address = options.take("address").ok_or("address is missing: the address of a listener")?;
    match options.take("socket_type").as_deref() {
        None | Some("tcp") if address.contains(':') => Ok(Target::Tcp(address)),
        None | Some("tcp") => Err(format!("{address:?} is no address and port")),
        Some("unix") => Ok(Target::Unix(absolute(&address, "address")?)),
        Some("udp") => {
            Err("no one acknowledges a datagram; write socket_type \"tcp\" or \"unix\"".to_owned())
        }
        Some(other) => Err(format!("there is no socket_type {other:?}; write \"tcp\" or \"unix\"")),
    }
}

fn absolute(path: &str, name: &str) -> Result<PathBuf, String> {
    let parsed = Path::new(path);
    let is_plain = |part: Component<'_>| {
        matches!(part, Component::RootDir | Component::Prefix(_) | Component::Normal(_))
    };
    if parsed.is_absolute() && parsed.components().all(is_plain) && parsed.file_name().is_some() {
        return Ok(parsed.to_owned());
    }
    Err(format!("{name} {path:?} is not an absolute path without \"..\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: &str, options: &[(&str, &str)]) -> Result<Spec, String> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        DeviceRecord { name: "a".to_owned(), kind: kind.to_owned(), description: String::new(), options }
            .parse()
    }

    #[test]
    fn options_are_honoured_or_refused() {
        let file = parse("file", &[("file_path", "/var/log/a.log"), ("log_raw", "false"), ("mode", "0640")])
            .unwrap();
        assert_eq!(file.options()["mode"], "0640");
        assert_eq!(parse("socket", &[("address", "127.0.0.1:9")]).unwrap().kind(), "socket");
        for (kind, options, word) in [
            ("syslog", vec![], "syslog"),
            ("file", vec![], "file_path"),
            ("file", vec![("file_path", "a.log")], "absolute"),
            ("file", vec![("file_path", "stdout")], "stand alone"),
            ("file", vec![("file_path", "/a/../b.log")], ".."),
            ("file", vec![("file_path", "/a"), ("mode", "0666")], "others"),
            ("file", vec![("file_path", "/a"), ("mode", "rw")], "octal"),
            ("file", vec![("file_path", "/a"), ("log_raw", "true")], "log_raw"),
            ("file", vec![("file_path", "/a"), ("format", "jsonx")], "format"),
            ("file", vec![("file_path", "/a"), ("color", "red")], "color"),
            ("socket", vec![("address", "here")], "port"),
            ("socket", vec![("address", "127.0.0.1:9"), ("socket_type", "udp")], "datagram"),
            ("socket", vec![("address", "x.sock"), ("socket_type", "unix")], "absolute"),
        ] {
            let error = parse(kind, &options).unwrap_err();
            assert!(error.contains(word), "{kind} {options:?}: {error}");
        }
    }
}
