//! A client's socket to which the kernel itself sends parts of stored files (sendfile).
//!
//! hyper writes bodies from memory only. So a body that has a part of a file puts it into the connection's
//! [`Outlet`] and gives hyper a *stand-in*: as many bytes of memory that nobody ever reads or writes. In
//! what hyper then writes, the socket knows the stand-in by its address, and sends the file in its place.
//! Should hyper ever do anything else with a stand-in than to write it in its turn (copy it, say), the
//! outlet and what is written no longer fit together, and the connection is cut before a byte leaves.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::pull::FileSlice;

/// Zeros of the kernel's that take no memory, since nobody looks at them.
static STAND_IN: LazyLock<Bytes> = LazyLock::new(|| vec![0; FileSlice::MAX].into());

/// Where a connection's bodies put the part of a file that is to be sent next. One at a time.
#[derive(Clone, Default)]
pub(super) struct Outlet(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    slice: Option<FileSlice>,
    body: Option<Waker>,
}

/// A TCP connection with an [`Outlet`].
pub(super) struct FileSocket {
    tcp: TcpStream,
    outlet: Outlet,
}

impl Outlet {
    /// Takes a part of a file and gives what stands in for it.
    pub(super) fn put(&self, slice: FileSlice) -> Bytes {
        let stand_in = STAND_IN.slice(..slice.left().min(STAND_IN.len()));
        self.lock().slice = Some(slice);
        stand_in
    }

    /// Ready when all that was put here has left.
    pub(super) fn poll_empty(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.lock();
        if waiting.slice.is_none() {
            return Poll::Ready(());
        }
        waiting.body = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether something waits here for the client to take it.
    pub(super) fn waits(&self) -> bool {
        self.lock().slice.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl FileSocket {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, outlet: Outlet::default() }
    }

    pub(super) fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }

    /// Does what needs room in the socket, as soon as there is some.
    fn poll_io(
        &self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            match self.tcp.try_io(Interest::WRITABLE, || work(&self.tcp)) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Sends from the file what the stand-in of `length` bytes stands for.
    fn poll_send_file(&self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let sent = ready!(self.poll_io(cx, |tcp| match &mut self.outlet.lock().slice {
            Some(slice) if slice.left() == length => slice.send_to(tcp),
            _ => Err(out_of_step()),
        }))?;
        let mut waiting = self.outlet.lock();
        if waiting.slice.as_ref().is_some_and(|slice| slice.left() == 0) {
            waiting.slice = None;
            if let Some(body) = waiting.body.take() {
                body.wake();
            }
        }
        Poll::Ready(Ok(sent))
    }
}

impl AsyncWrite for FileSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(at) = slices.iter().position(|slice| is_stand_in(slice)) else {
            return match self.outlet.waits() {
                true => Poll::Ready(Err(out_of_step())),
                false => Pin::new(&mut self.tcp).poll_write_vectored(cx, slices),
            };
        };
        let (before, from) = slices.split_at_checked(at).unwrap_or_default();
        if before.iter().all(|slice| slice.is_empty()) {
            return self.poll_send_file(cx, from.first().map_or(0, |slice| slice.len()));
        }
        // The answer's head waits for the file, so that they share a packet.
        self.poll_io(cx, |tcp| {
            Ok(sendmsg(tcp, before, &mut SendAncillaryBuffer::default(), SendFlags::MORE | SendFlags::NOSIGNAL)?)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl AsyncRead for FileSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

/// By its address: nothing else lies in that memory.
fn is_stand_in(slice: &[u8]) -> bool {
    let Range { start, end } = STAND_IN.as_ptr_range();
    !slice.is_empty() && (start..end).contains(&slice.as_ptr())
}

fn out_of_step() -> io::Error {
    io::Error::other("what is written does not fit the files that are to be sent")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::http::fixture::Image;
    use crate::pull::Piece;

    async fn pair() -> (FileSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (FileSocket::new(listener.accept().await.unwrap().0), client)
    }

    /// A part of a file that was hashed.
    async fn slice(image: &Image) -> FileSlice {
        let found = async {
            loop {
                match image.layer_whole().await.into_content().next_piece().await.unwrap() {
                    Some(Piece::File(slice)) => return slice,
                    // Not yet left alone for long enough. To be read to its end.
                    _ => {
                        let mut content = image.layer_whole().await.into_content();
                        while content.next().await.unwrap().is_some() {}
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), found).await.expect("it settles")
    }

    #[tokio::test]
    async fn the_file_takes_the_place_of_its_stand_in() {
        let image = Image::new().await;
        let (mut socket, mut client) = pair().await;
        let slice = slice(&image).await;
        let length = slice.left();
        let stand_in = socket.outlet().put(slice);
        assert_eq!(stand_in.len(), length);
        let sending = async move {
            let mut sent = 0;
            while sent < 4 + length {
                let (head, body) = (&b"head"[sent.min(4)..], &stand_in[sent.saturating_sub(4)..]);
                sent += socket.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]).await.unwrap();
            }
            assert!(!socket.outlet().waits());
            socket.write_all(b"end").await.unwrap();
        };
        let mut got = Vec::new();
        let (read, ()) = tokio::join!(client.read_to_end(&mut got), sending);
        read.unwrap();
        assert_eq!(got, [b"head", &image.layer()[..length], b"end"].concat());
    }

    #[tokio::test]
    async fn a_stand_in_that_is_not_written_in_its_turn_cuts_the_connection() {
        let image = Image::new().await;
        let (mut socket, mut client) = pair().await;
        let stand_in = socket.outlet().put(slice(&image).await);
        let copy = stand_in.to_vec();
        assert!(socket.write(&copy).await.is_err(), "a copy of it");
        assert!(socket.write(b"head").await.is_err(), "something else");
        assert!(socket.write(&stand_in[1..]).await.is_err(), "a part of it");
        let (mut other, _) = pair().await;
        assert!(other.write(&stand_in).await.is_err(), "on another connection");
        drop(socket);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert!(got.is_empty());
    }
}
