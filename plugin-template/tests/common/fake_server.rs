//! A server for the tests: it keeps records in memory, and answers each connection on a thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Bound,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use keyway_{{crate_name}}::network_protocol::{
    Action, Applied, Change, Condition, MAX_MESSAGE_BYTES, Place, Request, Response,
};

/// Serves on a thread until the process ends.
pub(crate) fn serve(address: &str) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let (address, records) = (listener.local_addr()?, Arc::new(Mutex::new(Records::default())));
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let records = Arc::clone(&records);
            // A client that goes away ends its thread and nothing else.
            thread::spawn(move || answer_all(connection, &records));
        }
    });
    Ok(address)
}

fn answer_all(mut connection: TcpStream, records: &Mutex<Records>) -> io::Result<()> {
    connection.set_nodelay(true)?;
    loop {
        let mut length = [0; 4];
        connection.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_MESSAGE_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; length];
        connection.read_exact(&mut message)?;
        let request = postcard::from_bytes(&message).map_err(io::Error::other)?;
        let response = records.lock().unwrap_or_else(PoisonError::into_inner).answer(request);
        let message = postcard::to_allocvec(&response).map_err(io::Error::other)?;
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        connection.write_all(&[&length.to_le_bytes()[..], &message].concat())?;
    }
}

#[derive(Default)]
struct Records {
    records: BTreeMap<Place, (Vec<u8>, u64)>,
    keyspaces: BTreeSet<String>,
    last_version: u64,
}

impl Records {
    fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::Get(place) => {
                let found = self.records.get(&place);
                Response::Record(
                    found.map(|(value, version)| (value.clone().into(), version.to_be_bytes().to_vec())),
                )
            }
            Request::Apply { changes, is_atomic } => Response::Applied(self.apply(changes, is_atomic)),
            Request::Scan { keyspace, lower, upper, limit, max_bytes, keys_only } => {
                let mut inside =
                    self.records.range((keyspace.clone(), lower)..).take_while(|((name, key), _)| {
                        *name == keyspace && upper.as_ref().is_none_or(|upper| key < upper)
                    });
                let (mut records, mut bytes) = (Vec::new(), 0);
                while records.len() < limit as usize && bytes <= max_bytes {
                    let Some(((_, key), (value, version))) = inside.next() else {
                        return Response::Records(records, true);
                    };
                    let value = if keys_only { Vec::new() } else { value.clone() };
                    bytes += (key.len() + value.len()) as u64;
                    records.push((key.clone(), value.into(), version.to_be_bytes().to_vec()));
                }
                Response::Records(records, false)
            }
            Request::Keyspaces(after) => {
                let later = self.keyspaces.range((Bound::Excluded(after), Bound::Unbounded));
                Response::Keyspaces(later.take(1_000).cloned().collect())
            }
            Request::DropKeyspace(name) => {
                self.records.retain(|(keyspace, _), _| *keyspace != name);
                Response::Dropped(self.keyspaces.remove(&name))
            }
            Request::Ping => Response::Pong,
        }
    }

    fn apply(&mut self, changes: Vec<Change>, is_atomic: bool) -> Vec<Applied> {
        let refusals: Vec<Option<Applied>> = changes.iter().map(|change| self.refusal(change)).collect();
        if is_atomic && refusals.iter().any(Option::is_some) {
            let upto = refusals.into_iter().map(|refusal| refusal.unwrap_or(Applied::Done(false)));
            return upto.collect();
        }
        let pairs = changes.into_iter().zip(refusals);
        pairs.map(|(change, refusal)| refusal.unwrap_or_else(|| self.apply_one(change))).collect()
    }

    fn refusal(&self, change: &Change) -> Option<Applied> {
        let version = self.records.get(&change.place).map(|(_, version)| version.to_be_bytes().to_vec());
        match (&change.condition, version) {
            (Condition::Absent, Some(_)) => Some(Applied::Exists),
            (Condition::Version(wanted), version) if version.as_ref() != Some(wanted) => {
                Some(Applied::Differs)
            }
            _ => None,
        }
    }

    fn apply_one(&mut self, change: Change) -> Applied {
        match change.action {
            Action::Put(value) => {
                self.last_version += 1;
                self.keyspaces.insert(change.place.0.clone());
                let before = self.records.insert(change.place, (value.into_vec(), self.last_version));
                Applied::Written(self.last_version.to_be_bytes().to_vec(), before.is_some())
            }
            Action::Delete => Applied::Done(self.records.remove(&change.place).is_some()),
            Action::Check => Applied::Done(self.records.contains_key(&change.place)),
        }
    }
}
