//! When and whether a link opens its connection again.

use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

#[tokio::test]
async fn status_of_a_failed_upgrade_decides_whether_to_reconnect() {
    let answer = |status: u16, retry_after: Option<&str>| {
        let mut response = Response::builder().status(status);
        if let Some(seconds) = retry_after {
            response = response.header(RETRY_AFTER, seconds);
        }
        let error = Error::Http(Box::new(response.body(None).unwrap()));
        Link::new(Address::parse("ws://127.0.0.1:9/").unwrap()).not_connected(&error)
    };
    // A balancer that finds no node answers 502 or 504.
    for status in [429, 500, 502, 503, 504] {
        let happened = answer(status, Some("3"));
        let Happened::Lost { reason: LostReason::Status(shown), until } = happened else {
            panic!("{happened:?}")
        };
        assert_eq!(shown, status);
        let wait = until - Instant::now();
        assert!(wait > Duration::from_secs(2) && wait <= Duration::from_secs(4), "{wait:?}");
        assert!(matches!(answer(status, None), Happened::Lost { .. }));
    }
    assert!(matches!(answer(401, None), Happened::Refused(ClosedReason::TokenRejected)));
    for status in [403, 404] {
        let happened = answer(status, None);
        assert!(matches!(&happened, Happened::Refused(ClosedReason::NotANode { .. })), "{happened:?}");
    }
    let banned = Response::builder().status(403).body(Some(b"you are banned\x1b[2J\n".to_vec())).unwrap();
    let banned = Error::Http(Box::new(banned));
    let happened = Link::new(Address::parse("ws://127.0.0.1:9/").unwrap()).not_connected(&banned);
    let Happened::Refused(ClosedReason::Refused { code, message }) = happened else { panic!("{happened:?}") };
    assert_eq!((code.known(), message.as_str()), (Some(ErrorCode::Forbidden), "you are banned"));
}

#[tokio::test]
async fn a_close_frame_decides_when_and_whether_to_reconnect() {
    let close = |code: u16, reason: &str| {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        Link::new(Address::parse("ws://127.0.0.1:9/").unwrap()).closed(Some(frame))
    };
    for code in [4012, 1012] {
        let Happened::Lost { until, reason } = close(code, "retry_after_ms=5000") else { panic!() };
        let wait = until - Instant::now();
        assert!(wait > Duration::from_secs(4) && wait <= Duration::from_secs(6), "{wait:?}");
        assert_eq!(reason, LostReason::Closed(CloseReason::Restarting), "{code}");
    }
    // A full node, of this version and of an older one.
    for (code, text) in [(4013, "retry_after_ms=5000; node full"), (1013, "retry_after_ms=5000")] {
        let Happened::Lost { until, reason } = close(code, text) else { panic!() };
        assert!(until - Instant::now() > Duration::from_secs(4), "{code}");
        assert_eq!(reason, LostReason::Closed(CloseReason::Full), "{code}");
    }
    assert!(matches!(close(4004, "idle"), Happened::Lost { .. }));
    assert!(matches!(close(4001, ""), Happened::Refused(ClosedReason::TokenRevoked)));
    assert!(matches!(close(4003, ""), Happened::Refused(ClosedReason::Removed)));
    // With a time to come back, every code means to come back.
    for code in [1000, 1002, 4001, 4003] {
        let Happened::Lost { until, .. } = close(code, "retry_after_ms=5000") else { panic!("{code}") };
        assert!(until - Instant::now() <= Duration::from_secs(6), "{code}");
    }
}

/// A link whose user has been signed in for this time, after these attempts.
async fn signed_in_link(lasted: Duration, tries: u32) -> Link {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let socket = Socket::from_raw_socket(MaybeTlsStream::Plain(stream), Role::Client, None).await;
    let mut link = Link::new(Address::parse("ws://127.0.0.1:9/").unwrap());
    link.back_off.slow_down(tries);
    let signed_in = Instant::now().checked_sub(lasted);
    let (silence, deadline) = (Silence::new(), Instant::now() + PING_AFTER);
    let open = Open { socket, deadline, pinged: false, silence, signed_in };
    link.phase = Phase::Open(Box::new(open));
    link
}

/// The longest of many pauses after a close frame with this code.
async fn longest_pause(code: u16, lasted: Duration, tries: u32) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..60 {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        let happened = signed_in_link(lasted, tries).await.closed(Some(frame));
        let Happened::Lost { until, .. } = happened else { panic!("{happened:?}") };
        longest = longest.max(until - Instant::now());
    }
    longest
}

#[tokio::test]
async fn pauses_are_short_again_after_a_minute_on_a_connection() {
    let (short, minute) = (Duration::from_secs(1), Duration::from_secs(61));
    assert!(longest_pause(1006, minute, 9).await <= short);
    assert!(longest_pause(1006, minute - Duration::from_secs(5), 9).await > 4 * short);
}

#[tokio::test]
async fn pauses_begin_at_8_s_after_1000_and_1002() {
    for code in [1000, 1002] {
        let pause = longest_pause(code, Duration::from_secs(61), 0).await.as_secs_f64();
        assert!((4.0..=8.0).contains(&pause), "{code}: {pause}");
    }
    // Of a connection without a sign-in, 1000 says nothing, and 1002 that this client is at fault.
    let ended = |code: u16| {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        let mut link = Link::new(Address::parse("ws://127.0.0.1:9/").unwrap());
        assert!(matches!(link.closed(Some(frame)), Happened::Lost { .. }));
        link.back_off
    };
    assert!(ended(1000).next(None, MAX_PAUSE) <= Duration::from_secs(2));
    let pauses: Vec<Duration> = (0..60).map(|_| ended(1002).next(None, MAX_PAUSE)).collect();
    assert!(pauses.iter().any(|pause| *pause > Duration::from_secs(8)), "{pauses:?}");
}
