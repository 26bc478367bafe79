//! The command line on a terminal.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
};

use keyway_e2e::{Server, Site, built, needed};

use crate::{keyway, start};

/// The command line on a terminal; none if no program that makes one is installed.
fn on_a_terminal(server: &Server, token: &str, arguments: &str, input: &str) -> Option<String> {
    let spawned = Command::new("script")
        .args(["-qec", &format!("{} {arguments}", built().join("keyway").display()), "/dev/null"])
        .env("KEYWAY_ADDR", &server.address)
        .env("KEYWAY_TOKEN", token)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            let mut shown = Vec::new();
            let mut out = child.stdout.take().unwrap();
            let mut piece = [0; 1];
            while !input.is_empty() && !shown.ends_with(b": ") && out.read(&mut piece)? > 0 {
                shown.extend_from_slice(&piece);
            }
            // The echo goes off just after the prompt, and nothing tells when; people take longer than this
            // to begin to type.
            std::thread::sleep(std::time::Duration::from_secs(u64::from(!input.is_empty())));
            let mut keyboard = child.stdin.take().unwrap();
            if !input.is_empty() {
                writeln!(keyboard, "{input}")?;
            }
            out.read_to_end(&mut shown)?;
            drop(keyboard);
            child.wait()?;
            Ok(shown)
        });
    let shown = match spawned {
        Ok(shown) => Some(shown),
        Err(error) => needed("script", Err(error)).map(|output| output.stdout),
    };
    shown.map(|shown| String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn terminal_echoes_no_secret_and_sets_headings_off() {
    let site = Site::new("memory");
    let server = site.start();
    let keys = server.init(1, 1);
    let Some(shown) = on_a_terminal(&server, "", "unseal", &keys.shares[0]) else { return };
    assert!(shown.contains("Unseal share:") && shown.contains("Sealed       false"), "{shown}");
    assert!(!shown.contains(&keys.shares[0]), "{shown}");
    let token = &keys.root_token;
    let shown = on_a_terminal(&server, token, "kv put secret/a password=-", "hunter2").unwrap();
    assert!(shown.contains("Value of password:") && !shown.contains("hunter2"), "{shown}");
    assert_eq!(server.get("secret/data/a", token).json()["data"]["data"]["password"], "hunter2");
    let shown = on_a_terminal(&server, token, "mount list", "").unwrap();
    assert!(shown.contains("\u{1b}[1mPath"), "{shown}");
}

/// What a terminal would obey is shown to people, wherever it comes from; to programs everything goes as it is.
#[test]
fn terminal_is_shown_control_characters_and_obeys_none() {
    let site = Site::new("memory");
    let (server, keys) = start(&site);
    let token = &keys.root_token;
    let evil = "\u{1b}[31mred\u{7}\u{9b}2J\u{202e}txt\r\nspoofed  row";
    let shown = r"\u001b[31mred\u0007\u009b2J\u202etxt\r\nspoofed  row";
    let body = serde_json::json!({ "data": { "lure\u{1b}]0;x": evil } });
    assert_eq!(server.post("secret/data/odd", token, &body).status, 200);
    let mount = serde_json::json!({ "type": "kv", "description": evil, "options": { "version": "2" } });
    assert_eq!(server.post("sys/mounts/lure", token, &mount).status, 204);
    let policy =
        serde_json::json!({ "policy": "# \u{1b}[2J\u{7}\npath \"a\" {\n\tcapabilities = [\"read\"]\n}\n" });
    assert_eq!(server.post("sys/policies/acl/lure", token, &policy).status, 204);
    let Some(table) = on_a_terminal(&server, token, "kv get secret/odd", "") else { return };
    assert!(table.contains(&format!(r"lure\u001b]0;x  {shown}")), "{table:?}");
    let seen = |arguments: &str| on_a_terminal(&server, token, arguments, "").unwrap();
    let json = seen("kv get secret/odd --format json");
    assert!(json.contains(r"red\u0007\u009b2J\u202etxt"), "{json:?}");
    let read: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!(read["data"]["lure\u{1b}]0;x"], evil, "it is JSON still");
    // Alone, a value keeps its lines.
    let alone = seen("kv get secret/odd --field 'lure\u{1b}]0;x'");
    assert_eq!(alone, "\\u001b[31mred\\u0007\\u009b2J\\u202etxt\\r\r\nspoofed  row\r\n");
    assert!(seen("mount list").contains(&format!("main     {shown}")));
    assert!(seen("policy read lure").contains("# \\u001b[2J\\u0007\r\npath"));
    assert!(seen("kv export secret").contains(r"\u009b2J\u202etxt"));
    let error = seen("kv get secret/odd --field none");
    assert!(error.contains(r"there are: lure\u001b]0;x"), "{error:?}");
    for text in
        [table, json, alone, error, seen("mount list"), seen("policy read lure"), seen("kv export secret")]
    {
        // Keyway's own: headings, and the end of a progress bar.
        let text =
            ["\u{1b}[1m", "\u{1b}[0m", "\u{1b}[2K"].iter().fold(text, |text, own| text.replace(own, ""));
        let obeyed = text.chars().find(|c| c.is_control() && !['\r', '\n', '\t'].contains(c));
        assert_eq!(obeyed, None, "{text:?}");
    }
    // Output that is no terminal gets every byte unchanged.
    let get = ["kv", "get", "secret/odd", "--field", "lure\u{1b}]0;x"];
    assert_eq!(keyway(&server.address, token, &get, Stdio::piped()).stdout, evil.as_bytes());
    let table = keyway(&server.address, token, &get[..3], Stdio::piped()).stdout;
    assert!(String::from_utf8(table).unwrap().contains(evil));
}
