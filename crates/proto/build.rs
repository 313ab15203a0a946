//! Compiles the `.proto` files without `protoc`, and writes their descriptors beside the code.
//!
//! The code is generated from descriptors in which the messages that we must hand on byte for byte are rewritten
//! to types that keep them encoded; the descriptors for reflection stay as the `.proto` files say.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

const ROOT: &str = "proto";
const FILES: &[&str] = &[
    "build/bazel/remote/asset/v1/remote_asset.proto",
    "build/bazel/remote/execution/v2/remote_execution.proto",
    "buildstream/v2/artifact.proto",
    "buildstream/v2/buildstream.proto",
    "buildstream/v2/source.proto",
    "google/bytestream/bytestream.proto",
];
/// What is sent to others, which no client is told of either.
const OTLP: &[&str] = &[
    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
];
/// Apart, since clients are not to be told of it.
const ADMIN: &str = "millpond/admin/v1/admin.proto";

const PACKAGE: &str = "build.bazel.remote.execution.v2";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    let mut descriptors = compile(FILES, "descriptors.bin")?;
    descriptors.file.extend(compile(&[ADMIN], "admin_descriptors.bin")?.file);
    descriptors.file.extend(compile(OTLP, "otlp_descriptors.bin")?.file);
    keep_encoded(&mut descriptors, "UpdateActionResultRequest", "action_result")?;
    keep_encoded(&mut descriptors, "GetTreeResponse", "directories")?;
    answer_encoded(&mut descriptors, ".build.bazel.remote.execution.v2.ActionResult")?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .extern_path(format!(".{PACKAGE}.EncodedActionResult"), "crate::EncodedActionResult")
        .extern_path(format!(".{PACKAGE}.Digest"), "crate::Digest")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Compiles these files, and writes their descriptors down.
fn compile(files: &[&str], to: &str) -> Result<FileDescriptorSet, Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_imports(true).open_files(files)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join(to), compiler.encode_file_descriptor_set())?;
    Ok(compiler.file_descriptor_set())
}

/// Turns a field of a message type into a field of bytes, which looks the same on the wire.
fn keep_encoded(descriptors: &mut FileDescriptorSet, message: &str, field: &str) -> Result<(), String> {
    let field = descriptors
        .file
        .iter_mut()
        .filter(|file| file.package() == PACKAGE)
        .flat_map(|file| &mut file.message_type)
        .filter(|found| found.name() == message)
        .flat_map(|found| &mut found.field)
        .find(|found| found.name() == field)
        .ok_or_else(|| format!("{message}.{field} is gone from the .proto file"))?;
    field.set_type(Type::Bytes);
    field.type_name = None;
    Ok(())
}

/// Lets every method that answers with `ActionResult` answer with `EncodedActionResult`, a type of `lib.rs`.
fn answer_encoded(descriptors: &mut FileDescriptorSet, answer: &str) -> Result<(), String> {
    let methods = descriptors
        .file
        .iter_mut()
        .flat_map(|file| &mut file.service)
        .flat_map(|service| &mut service.method)
        .filter(|method| method.output_type() == answer);
    let mut count = 0;
    for method in methods {
        method.output_type = Some(format!(".{PACKAGE}.EncodedActionResult"));
        count += 1;
    }
    if count == 0 { Err(format!("no method answers with {answer}")) } else { Ok(()) }
}
