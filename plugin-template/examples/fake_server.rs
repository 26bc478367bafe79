//! The server of the tests, to try the plugin by hand: `cargo run --example fake_server`.
#![allow(clippy::print_stdout, reason = "it says where it serves")]

#[path = "../tests/common/fake_server.rs"]
mod fake_server;

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7410".to_owned());
    println!("serves at {}", fake_server::serve(&address)?);
    loop {
        std::thread::park();
    }
}
