use serde_json::json;

use super::*;

fn binary(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn an_image_is_the_binary_of_its_name_in_the_first_directory_that_has_it() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dirs = [a.path().to_owned(), b.path().to_owned()];
    let proxy = binary(b.path(), "isthmus-proxy");
    let container = json!({ "name": "c", "image": "registry:5000/isthmus/proxy:0.1.0" });
    let image = resolve(&json!({}), &container, &dirs).unwrap();
    assert_eq!(image.binary, proxy);
    assert_eq!(image.entrypoint, Path::new("/isthmus/isthmus-proxy"));
    assert!(image.needs_mount() && image.is_ours);

    let error = resolve(&json!({}), &json!({ "name": "c", "image": "nginx:1.29" }), &dirs).unwrap_err();
    assert!(error.contains("isthmus-nginx or nginx in"), "{error}");
    assert!(error.contains("sandbox.isthmus.dev/executable.c"), "{error}");
}

#[test]
fn an_annotation_names_a_host_executable() {
    let pod =
        |path: &str| json!({ "metadata": { "annotations": { "sandbox.isthmus.dev/executable.c": path } } });
    let container = json!({ "name": "c", "image": "anything" });
    let image = resolve(&pod("/usr/bin/env"), &container, &[]).unwrap();
    assert_eq!(image.entrypoint, Path::new("/usr/bin/env"));
    assert!(!image.needs_mount());

    let elsewhere = tempfile::tempdir().unwrap();
    let tool = binary(elsewhere.path(), "tool");
    let image = resolve(&pod(tool.to_str().unwrap()), &container, &[]).unwrap();
    assert_eq!(image.entrypoint, Path::new("/isthmus/tool"));
    assert!(resolve(&pod("/no/such"), &container, &[]).is_err());
}
