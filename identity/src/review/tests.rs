use super::*;
use mesh_kube::k8s_openapi::api::authentication::v1::UserInfo;

fn status(user: &str, audience: &str) -> TokenReviewStatus {
    TokenReviewStatus {
        authenticated: Some(true),
        audiences: Some(vec![audience.to_owned()]),
        user: Some(UserInfo { username: Some(user.to_owned()), ..UserInfo::default() }),
        ..TokenReviewStatus::default()
    }
}

#[test]
fn a_token_for_another_audience_is_refused_even_if_the_server_says_yes() {
    assert!(user_of(status("system:serviceaccount:shop:web", "api")).is_err());
    let user = user_of(status("system:serviceaccount:shop:web", IDENTITY_AUDIENCE)).expect("a user");
    assert_eq!(account_of(&user), Some(("shop", "web")));
}

#[test]
fn only_service_accounts_have_an_identity() {
    for user in
        ["kubernetes-admin", "system:node:a", "system:serviceaccount:shop", "system:serviceaccount:Shop:web"]
    {
        assert_eq!(account_of(user), None, "{user}");
    }
}
