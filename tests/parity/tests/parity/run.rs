//! Sends the lines of a sequence to both servers, keeps what their answers are asked for, and compares.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    compare::compare,
    differences::Matched,
    names::Names,
    pair::Pair,
    request::{Reply, Request},
    table::Line,
};

/// A sequence under way.
pub(crate) struct Run<'p> {
    pair: &'p Pair,
    names: Names,
    kept: [HashMap<String, String>; 2],
}

/// Keeps only the names and types of the groups that a machine measures.
fn without_measurements(reply: &mut Reply) {
    let groups = reply.body["data"].as_object_mut().into_iter().flatten();
    for (_, group) in groups {
        *group = Value::from(match group {
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            _ => "value",
        });
    }
}

/// What a line came to.
pub(crate) struct Outcome {
    pub(crate) replies: [Reply; 2],
    /// The differences that are not intended.
    pub(crate) problems: Vec<String>,
}

impl<'p> Run<'p> {
    /// A sequence, with values that both servers have for the same names.
    pub(crate) fn new(pair: &'p Pair, kept: &[(&str, &str)]) -> Self {
        let mut names = Names::default();
        for own in [&pair.roots, &pair.directories] {
            names.learn([&own[0], &own[1]]);
        }
        let kept: HashMap<String, String> =
            kept.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { pair, names, kept: [kept.clone(), kept] }
    }

    /// Sends a line; none if it needs a value that an answer lacked.
    pub(crate) fn send(&mut self, line: &Line, matched: &Matched) -> Option<Outcome> {
        let [bao, keyway] = [0, 1].map(|server| self.request(server, line));
        let (bao, keyway) = (bao?, keyway?);
        let mut replies = [self.pair.clients[0].send(&bao), self.pair.clients[1].send(&keyway)];
        if line.path == "sys/host-info" {
            replies.iter_mut().for_each(without_measurements);
        }
        let route = format!("{} {}", line.method, line.path);
        let found = matched.unintended(&route, compare([&replies[0], &replies[1]], &mut self.names));
        let fails = found.iter().any(|difference| difference.place == "status");
        let mut problems: Vec<String> =
            found.iter().map(|difference| format!("{route} {difference}")).collect();
        if fails {
            let bodies =
                replies.each_ref().map(|reply| reply.body.to_string().chars().take(400).collect::<String>());
            let body = keyway.body.unwrap_or_default();
            problems.push(format!("  {body}\n  openbao: {}\n  keyway:  {}", bodies[0], bodies[1]));
        }
        self.keep(line, &replies);
        Some(Outcome { replies, problems })
    }

    fn keep(&mut self, line: &Line, replies: &[Reply; 2]) {
        for (name, place) in &line.keeps {
            let pointer = format!("/{}", place.replace('.', "/"));
            for (kept, reply) in self.kept.iter_mut().zip(replies) {
                if let Some(value) = reply.body.pointer(&pointer) {
                    kept.insert(
                        name.clone(),
                        value.as_str().map_or_else(|| value.to_string(), str::to_owned),
                    );
                }
            }
            // A value that a sequence keeps counts as random, even if it does not look so.
            if let [Some(bao), Some(keyway)] = [0, 1].map(|server| self.kept[server].get(name)) {
                let is_new = self.names.of(0, bao).is_none() && self.names.of(1, keyway).is_none();
                if bao != keyway && is_new {
                    self.names.learn([bao, keyway]);
                }
            }
        }
    }

    /// The request for a server.
    pub(crate) fn request(&self, server: usize, line: &Line) -> Option<Request> {
        let fill = |text: &str| self.fill(server, text);
        let headers = line.headers.iter().map(|(name, value)| Some((name.clone(), fill(value)?)));
        Some(Request {
            method: line.method.clone(),
            path: fill(&line.path)?,
            token: match &line.token {
                Some(token) if token == "-" => String::new(),
                Some(token) => fill(token)?,
                None => self.pair.roots[server].clone(),
            },
            headers: headers.collect::<Option<_>>()?,
            body: match &line.body {
                Some(body) => Some(fill(body)?),
                None => None,
            },
        })
    }

    fn fill(&self, server: usize, text: &str) -> Option<String> {
        let mut parts = text.split('$');
        let mut filled = parts.next()?.to_owned();
        for part in parts {
            let end =
                part.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_').unwrap_or(part.len());
            let value = match &part[..end] {
                "" => "$",
                "root" => &self.pair.roots[server],
                "dir" => &self.pair.directories[server],
                "share" => &self.pair.shares[server],
                name => self.kept[server].get(name)?,
            };
            filled.push_str(value);
            filled.push_str(&part[end..]);
        }
        Some(filled)
    }
}
