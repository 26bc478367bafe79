//! Strips the released program. Cargo does not strip a program whose package has its own profile (ADR 0023).

fn main() {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|text| text == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
