//! Asks the API server whose token it is.

use mesh_kube::k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use mesh_kube::kube::Api;
use mesh_kube::kube::api::PostParams;
use mesh_kube::{Client, kube};
use mesh_types::{IDENTITY_AUDIENCE, WorkloadIdentity, validate_dns_label};

/// Why a token does not tell who its bearer is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewError {
    /// The API server refuses the token.
    #[error("token is not authenticated: {0}")]
    NotAuthenticated(String),
    /// It belongs to something other than a service account.
    #[error("token belongs to {0:?}, not to a service account")]
    NotServiceAccount(String),
    /// The API server could not be asked.
    #[error("token review failed: {0}")]
    Unreachable(#[from] kube::Error),
}

/// The workload that a token, made for the identity audience, belongs to.
pub(crate) async fn review(
    client: Client,
    token: &str,
    control_plane_namespace: &str,
    trust_domain: &str,
) -> Result<WorkloadIdentity, ReviewError> {
    let spec = TokenReviewSpec {
        token: Some(token.to_owned()),
        audiences: Some(vec![IDENTITY_AUDIENCE.to_owned()]),
    };
    let review = TokenReview { spec, ..TokenReview::default() };
    let answer = Api::<TokenReview>::all(client).create(&PostParams::default(), &review).await?;
    let user = user_of(answer.status.unwrap_or_default())?;
    let (namespace, service_account) =
        account_of(&user).ok_or(ReviewError::NotServiceAccount(user.clone()))?;
    Ok(WorkloadIdentity {
        service_account: service_account.to_owned(),
        namespace: namespace.to_owned(),
        control_plane_namespace: control_plane_namespace.to_owned(),
        trust_domain: trust_domain.to_owned(),
    })
}

fn user_of(status: TokenReviewStatus) -> Result<String, ReviewError> {
    if status.authenticated != Some(true) {
        return Err(ReviewError::NotAuthenticated(
            status.error.unwrap_or_else(|| "no reason given".to_owned()),
        ));
    }
    // An API server that ignores audiences would accept a token made for somebody else.
    if !status.audiences.is_some_and(|held| held.iter().any(|a| a == IDENTITY_AUDIENCE)) {
        return Err(ReviewError::NotAuthenticated(format!("not made for audience {IDENTITY_AUDIENCE}")));
    }
    Ok(status.user.and_then(|user| user.username).unwrap_or_default())
}

/// Namespace and name in `system:serviceaccount:<ns>:<sa>`.
fn account_of(user: &str) -> Option<(&str, &str)> {
    let (namespace, account) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let valid =
        validate_dns_label(namespace).is_ok() && account.split('.').all(|l| validate_dns_label(l).is_ok());
    valid.then_some((namespace, account))
}

#[cfg(test)]
mod tests;
