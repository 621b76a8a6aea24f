//! An HTTP/1.1 client that throws bodies away.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One connection.
pub struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(server: SocketAddr) -> Self {
        let socket = TcpStream::connect(server).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, buffer: vec![0; 256 * 1024] }
    }

    /// Reads one answer to its end; gives the moment of the first byte.
    pub async fn get(&mut self, path: &str) -> Instant {
        self.socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes()).await.unwrap();
        let (mut got, mut whole, mut first) = (0, None, None);
        while whole.is_none_or(|whole| got < whole) {
            // Until the head is complete, what comes is kept; afterwards only counted.
            let space = if whole.is_none() { &mut self.buffer[got..] } else { &mut self.buffer[..] };
            let count = self.socket.read(space).await.unwrap();
            assert!(count > 0, "{path} ended early");
            first.get_or_insert_with(Instant::now);
            got += count;
            whole = whole.or_else(|| length(&self.buffer[..got]));
        }
        first.unwrap()
    }
}

/// Of head and body, once the head is there.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).unwrap().to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}");
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    Some(head + body.trim().parse::<usize>().unwrap())
}
