//! Access tokens.

use super::*;

fn token(name: &str, secret: &str, expires_ms: Option<i64>) -> NewToken {
    NewToken {
        name: name.to_owned(),
        role: AccessRole::Agent,
        digest: Digest::of(secret),
        expires_ms,
    }
}

pub(super) async fn a_token_has_its_name_alone_until_it_is_revoked(store: Arc<dyn Store>) {
    assert_eq!(store.tokens().await.unwrap(), []);
    let first = token("board", "one", Some(NOW + 5));
    assert!(store.add_token(&first, NOW).await.unwrap());
    let second = token("board", "two", None);
    assert!(!store.add_token(&second, NOW + 1).await.unwrap());
    assert!(!store.revoke_token("other", NOW + 2).await.unwrap());
    assert!(store.revoke_token("board", NOW + 2).await.unwrap());
    assert!(!store.revoke_token("board", NOW + 3).await.unwrap(), "once");
    assert!(store.add_token(&second, NOW + 4).await.unwrap());

    let stored = |new: &NewToken, created_ms, revoked_ms| StoredToken {
        digest: new.digest,
        token: AccessToken {
            name: new.name.clone(),
            role: new.role,
            created_ms,
            expires_ms: new.expires_ms,
            revoked_ms,
        },
    };
    let expected = [
        stored(&first, NOW, Some(NOW + 2)),
        stored(&second, NOW + 4, None),
    ];
    assert_eq!(store.tokens().await.unwrap(), expected);
}
