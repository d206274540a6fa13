//! How the executable is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    // Relocations as a bitmap instead of 24 bytes each: half a megabyte less to read at every start. A static executable
    // brings along who reads it (glibc 2.36 and later); where others would, they may not know it.
    if features.split(',').any(|feature| feature == "crt-static") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
