use super::*;
use serde_json::json;

struct Echo;

impl Control for Echo {
    async fn answer(&self, request: Request) -> Result<Value, Error> {
        match request {
            Request::Heal => Err(Error::Refused("nothing to heal".to_owned())),
            other => Ok(json!(format!("{other:?}"))),
        }
    }
}

#[tokio::test]
async fn requests_are_answered_or_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::resolve(Some(dir.path().to_owned()));
    let token = CancellationToken::new();
    let serving = serve(listen(&state).unwrap(), Arc::new(Echo), token.clone());
    let client = async {
        let state = state.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let partition = Request::Partition { a: "east".to_owned(), b: "west".to_owned() };
            (call(&state, &partition), call(&state, &Request::Heal))
        });
        let answers = asked.await.unwrap();
        token.cancel();
        answers
    };
    let ((), (partition, heal)) = tokio::join!(serving, client);
    assert_eq!(partition.unwrap(), json!("Partition { a: \"east\", b: \"west\" }"));
    assert_eq!(heal.unwrap_err().to_string(), "nothing to heal");
}

#[test]
fn without_a_supervisor_the_remedy_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = call(&StateDir::resolve(Some(dir.path().to_owned())), &Request::Status).unwrap_err();
    assert!(error.to_string().contains("meshctl sandbox up"), "{error}");
}
