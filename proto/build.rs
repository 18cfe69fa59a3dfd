//! Compiles `v1/*.proto` with protox, a protobuf compiler in Rust, so that a build needs no
//! `protoc` on the machine.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "v1/words.proto",
        "v1/probe.proto",
        "v1/sensitivity.proto",
        "v1/question.proto",
        "v1/searches.proto",
        "v1/agents.proto",
        "v1/blobs.proto",
        "v1/tokens.proto",
        "v1/audit.proto",
        "v1/schedules.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["v1"])?;
    let mut calls = String::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                calls += &format!("    \"/{package}.{service}/{}\",\n", method.name());
            }
        }
    }
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    std::fs::write(folder.join("calls.rs"), format!("&[\n{calls}]\n"))?;
    // They have secrets, which are not to be shown.
    tonic_prost_build::configure()
        .skip_debug([
            "bitfront.v1.AddTokenResponse",
            "bitfront.v1.AddScheduleRequest",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
