//! Tells the crate which target it is compiled for: only a build script is told the whole triple.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=PLG_TARGET={target}");
}
