//! The example of embedding: a server that is not Keyway's keeps its data in a backend, and finds it after kill -9.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use keyway_loader::{LockFile, describe::describe, discover::file_name, stage::stage};

/// The directory of what is built.
fn built() -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

struct Server {
    process: Child,
    connection: TcpStream,
}

impl Server {
    fn start(lock_file: &Path, data: &Path) -> Result<Self, String> {
        let program = built().join("examples").join("embed");
        assert!(program.exists(), "build it first: cargo build -p keyway-loader --examples");
        let mut process = Command::new(program)
            .args([&built(), lock_file, data])
            .args(["sqlite", r#"{"path": "store.db"}"#])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.trim().rsplit_once(" serves at ") {
            Some((plugin, address)) => {
                assert!(plugin.starts_with("sqlite "), "{line}");
                Ok(Self { connection: TcpStream::connect(address).unwrap(), process })
            }
            None => Err(String::from_utf8(process.wait_with_output().unwrap().stderr).unwrap()),
        }
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.connection, "{question}").unwrap();
        let mut answer = String::new();
        BufReader::new(&self.connection).read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn embedded_backend_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let lock_file = directory.path().join("keyway.lock");

    // Without a line in the lock file, nothing of the library runs.
    fs::write(&lock_file, LockFile::default().to_text()).unwrap();
    let refused = Server::start(&lock_file, &data).err().unwrap();
    assert!(refused.contains("keyway.lock"), "{refused}");

    let mut lock = LockFile::default();
    let staged = stage(&built().join(file_name("sqlite")), &directory.path().join("locking")).unwrap();
    lock.insert(&describe(staged).unwrap());
    fs::write(&lock_file, lock.to_text()).unwrap();
    let mut server = Server::start(&lock_file, &data).unwrap();
    assert_eq!(server.ask("get a"), "none");
    assert_eq!(server.ask("put a first"), "done");
    assert_eq!(server.ask("put b second"), "done");
    assert_eq!(server.ask("delete a"), "get KEY, put KEY VALUE or keys");
    drop(server);

    let mut server = Server::start(&lock_file, &data).unwrap();
    assert_eq!((server.ask("get a"), server.ask("keys")), ("first".to_owned(), "a b".to_owned()));
}
