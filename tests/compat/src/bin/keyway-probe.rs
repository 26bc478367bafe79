//! The program in which the tests' loaders probe plugins.

fn main() -> std::process::ExitCode {
    keyway_loader::probe::child::main(&std::env::args_os().skip(1).collect::<Vec<_>>())
}
