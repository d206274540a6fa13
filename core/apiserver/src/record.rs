//! Recording what clients ask, so that the same can be asked of a real API server.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, UPGRADE, USER_AGENT};
use http::{HeaderName, Request};
use http_body_util::{BodyExt as _, Full};

use crate::error::ApiError;
use crate::http::body;
use crate::streams::RequestBody;
use crate::user::UserInfo;

/// Who is told of requests.
pub type Recorder = Arc<dyn Fn(Recorded) + Send + Sync>;

/// One request, as it arrived. Without credentials: the user's name stands for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Who asked.
    pub user: String,
    /// The client's program.
    pub agent: String,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Media type of the body, or empty.
    pub content_type: String,
    /// Media types wanted, or empty.
    pub accept: String,
    /// What the connection is to become, or empty; such requests have no body.
    pub upgrade: String,
    /// The body as text; what is no UTF-8 (Protobuf) is empty.
    pub body: String,
}

/// Tells of a request, which is then as it was.
pub(crate) async fn note(
    tell: &(dyn Fn(Recorded) + Send + Sync),
    user: &UserInfo,
    request: Request<RequestBody>,
) -> Result<Request<RequestBody>, ApiError> {
    let mut recorded = without_body(user, &request);
    if !recorded.upgrade.is_empty() {
        tell(recorded);
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    let bytes: Bytes = body::bytes(body).await?;
    recorded.body = String::from_utf8(bytes.to_vec()).unwrap_or_default();
    tell(recorded);
    let body = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    Ok(Request::from_parts(head, body))
}

fn without_body(user: &UserInfo, request: &Request<RequestBody>) -> Recorded {
    let header = |name: HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    Recorded {
        user: user.name.clone(),
        agent: header(USER_AGENT),
        method: request.method().to_string(),
        path: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
        content_type: header(CONTENT_TYPE),
        accept: header(ACCEPT),
        upgrade: header(UPGRADE),
        body: String::new(),
    }
}
