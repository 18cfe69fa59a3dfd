//! A web server that notices are posted to.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Takes notices, after it has refused the first few.
pub(super) struct Receiver {
    pub(super) url: String,
    /// What was posted, with whether it was taken.
    posted: Arc<Mutex<Vec<(bool, serde_json::Value)>>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// Answers the first ones with 500.
    pub(super) async fn start(refusals: usize) -> Self {
        let refused = "500 Internal Server Error\r\n";
        Self::answering(move |number| match number < refusals {
            true => refused.to_owned(),
            false => "204 No Content\r\n".to_owned(),
        })
        .await
    }

    /// Sends everybody on to somewhere else.
    pub(super) async fn redirecting() -> Self {
        let elsewhere = "307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\n";
        Self::answering(|_| elsewhere.to_owned()).await
    }

    async fn answering(answer: impl Fn(usize) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let posted = Arc::new(Mutex::new(Vec::new()));
        let kept = posted.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = kept.lock().unwrap().len();
                let answer = answer(number);
                let body = exchange(stream, &answer).await;
                kept.lock().unwrap().push((answer.starts_with('2'), body));
            }
        });
        Self {
            url,
            posted,
            serving,
        }
    }

    /// What was posted, with whether it was taken.
    pub(super) fn posted(&self) -> Vec<(bool, serde_json::Value)> {
        self.posted.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Reads one request and answers it; gives its body.
async fn exchange(stream: TcpStream, answer: &str) -> serde_json::Value {
    let mut stream = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        let line = line.trim().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let answer = format!("HTTP/1.1 {answer}content-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    serde_json::from_slice(&body).unwrap()
}
