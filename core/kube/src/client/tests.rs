use super::*;

#[tokio::test]
async fn an_unknown_context_is_named_with_those_that_exist() {
    let dir = std::env::temp_dir().join(format!("mesh-kube-{}", std::process::id()));
    std::fs::write(
        &dir,
        "apiVersion: v1\nkind: Config\ncontexts: [{name: east, context: {cluster: c, user: u}}]\n",
    )
    .unwrap();
    let connection =
        Connection { kubeconfig: Some(dir.clone()), context: Some("eats".into()), ..Connection::default() };
    let error = connect(&connection).await.map(drop).unwrap_err().to_string();
    std::fs::remove_file(dir).unwrap();
    assert!(error.contains("eats") && error.contains("east"), "{error}");
}

#[tokio::test]
async fn a_kubeconfig_text_without_a_context_is_refused() {
    let error = connect_kubeconfig("apiVersion: v1\nkind: Config\n").await.map(drop).unwrap_err();
    assert!(matches!(error, Error::KubeconfigText(_)), "{error}");
    let error = connect_kubeconfig("{{{").await.map(drop).unwrap_err().to_string();
    assert!(!error.contains('\n') && !error.contains("{{{"), "{error}");
}
