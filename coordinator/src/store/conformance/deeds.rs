//! What persons did.

use super::*;

pub(super) async fn a_deed_is_noted_before_and_concluded_once(store: Arc<dyn Store>) {
    let deed = |at_ms, subject: &str, outcome| Deed {
        at_ms,
        by: "board".to_owned(),
        action: "submit".to_owned(),
        subject: subject.to_owned(),
        outcome,
    };
    let begin = async |at_ms| {
        let begun = deed(at_ms, "", DeedOutcome::Begun);
        store.begin_deed(&begun).await.unwrap()
    };
    let first = begin(NOW).await;
    let second = begin(NOW + 1).await;
    begin(NOW + 2).await;
    let conclude = async |id, subject: Option<&str>, outcome| {
        store.conclude_deed(id, subject, outcome).await.unwrap();
    };
    conclude(first, Some("7"), DeedOutcome::Done).await;
    conclude(first, Some("8"), DeedOutcome::Nothing).await;
    conclude(second, None, DeedOutcome::Nothing).await;
    let expected = [
        deed(NOW, "7", DeedOutcome::Done),
        deed(NOW + 1, "", DeedOutcome::Nothing),
        deed(NOW + 2, "", DeedOutcome::Begun),
    ];
    assert_eq!(store.deeds(0, 10).await.unwrap(), expected);
    assert_eq!(store.deeds(NOW + 1, 10).await.unwrap(), expected[1..]);
    assert_eq!(
        store.deeds(0, 1).await.unwrap(),
        expected[2..],
        "the latest"
    );
}
