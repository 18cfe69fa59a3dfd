//! Connections that are encrypted, to a server of their own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::store::StoreError;

/// A server with a certificate for `localhost`, which ends with this.
struct Server {
    script: Child,
    /// Names the authority of the certificate, and insists on it.
    url: String,
}

impl Server {
    fn start() -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        let mut command = Command::new(scripts.join("with-postgres"));
        command.args(["--tls", "sh", "-c", "echo $BITFRONT_TEST_POSTGRES; cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().unwrap();
        let mut url = String::new();
        let mut lines = BufReader::new(script.stdout.take().unwrap());
        lines.read_line(&mut url).unwrap();
        assert!(!url.is_empty(), "the script says why there is no server");
        Self {
            script,
            url: url.trim().to_owned(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What it runs ends with its input.
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

#[tokio::test]
async fn a_server_is_who_its_certificate_says_or_is_not_talked_to() {
    let server = Server::start();
    let open = async |text: &str| PostgresStore::open(&url(text)).await;
    let store = open(&server.url).await.unwrap();
    let encrypted: bool = sqlx::query_scalar(
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE application_name = 'bitfront'",
    )
    .fetch_one(&store.pool)
    .await
    .unwrap();
    assert!(encrypted);
    store.identity().await.unwrap();
    store.close().await;

    let other_authority = server.url.replace("authority.crt", "other.crt");
    let other_name = server.url.replace("@localhost:", "@127.0.0.1:");
    let no_file = server.url.replace("authority.crt", "nowhere.crt");
    let cases = [
        (other_authority, "`sslrootcert=FILE` names the authority"),
        (other_name.clone(), "the name of the server in the URL"),
        (no_file, "a file that the URL names, such as `sslrootcert`"),
    ];
    for (url, part) in cases {
        let error = open(&url).await.err().unwrap();
        assert!(matches!(error, StoreError::Open { .. }), "{error}");
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    // Asked for less, it is enough that the authority is known.
    let any_name = other_name.replace("verify-full", "verify-ca");
    open(&any_name).await.unwrap().close().await;
}
