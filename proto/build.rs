//! Compiles `v1/*.proto` with protox, a protobuf compiler in Rust, so that a build needs no
//! `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "v1/words.proto",
        "v1/probe.proto",
        "v1/sensitivity.proto",
        "v1/question.proto",
        "v1/searches.proto",
        "v1/agents.proto",
        "v1/blobs.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["v1"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
