import asyncio

import pytest

pytest.importorskip("starlette", reason="the page needs NiceGUI: pip install 'owseg[review]'")
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from owseg.serve.guard import Guard, is_loopback

LOCAL, SOCKET = "http://127.0.0.1:8765", "ws://127.0.0.1:8765/ws"


async def answer(request: Request):
    return PlainTextResponse(str(len(await request.body())))


async def talk(socket):
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def client(base=LOCAL, *, token="s3cret", known=True, **options):
    """A client of a guarded application, which has the token if it is ``known`` to it."""
    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"]), WebSocketRoute("/ws", talk)])
    web = TestClient(Guard(app, token, **{"max_body": 1000, **options}), base_url=base, follow_redirects=False)
    if known:
        assert web.get(f"/?token={token}").status_code == 303
    return web


def refused(found):
    return found.status_code == 403 and found.json()["error"].endswith(".")


def test_on_loopback_only_its_own_names_are_served():
    for host in ("127.0.0.1:8765", "localhost:8765", "[::1]:8765", "127.1.2.3:8765"):
        assert client().get("/", headers={"host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[", "10.0.0.1", "evil.example@localhost",
                 "localhost@evil.example", "localhost/x", "127.0.0.1:8765:1", "localhost#"):  # fmt: skip
        assert refused(client().get("/", headers={"host": host}))
    elsewhere = client("http://tablet.lan:8765", local=False)
    assert elsewhere.get("/").status_code == 200
    assert refused(elsewhere.get("/", headers={"host": "evil.example@tablet.lan:8765"}))
    assert is_loopback("::1") and not is_loopback("0.0.0.0")


def test_another_site_may_not_ask_for_anything():
    web = client()
    for origin in (LOCAL, LOCAL.replace("http", "https")):
        assert web.post("/", content=b"xx", headers={"origin": origin}).text == "2"
        assert web.get("/", headers={"origin": origin, "sec-fetch-site": "same-origin"}).text == "0"
    for origin in ("http://evil.example", "null", "", "http://127.0.0.1:9999", "http://x@127.0.0.1:8765"):
        assert refused(web.post("/", headers={"origin": origin})) and refused(web.get("/", headers={"origin": origin}))
        with pytest.raises(WebSocketDisconnect), web.websocket_connect(SOCKET, headers={"origin": origin}):
            pass
    with web.websocket_connect(SOCKET, headers={"origin": LOCAL}) as socket:
        assert socket.receive_text() == "hello"


def test_another_site_may_link_to_a_page_and_nothing_else():
    web = client()
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    for site in ("cross-site", "same-site"):  # another port of this computer is the same site
        assert web.get("/group/1", headers={**link, "sec-fetch-site": site}).status_code == 200
        assert refused(web.post("/", headers={**link, "sec-fetch-site": site}))
        for other in ({"sec-fetch-dest": "iframe"}, {"sec-fetch-mode": "no-cors"}, {"sec-fetch-dest": "image"}):
            assert refused(web.get("/", headers={**link, "sec-fetch-site": site, **other}))
        assert refused(web.get("/", headers={"sec-fetch-site": site}))
    for site in ("none", "same-origin"):
        assert web.get("/", headers={"sec-fetch-site": site}).status_code == 200


@pytest.mark.parametrize("base, local", [(LOCAL, True), ("http://tablet.lan:8765", False)])
def test_every_request_needs_the_token(base, local):
    web = client(base, known=False, local=local)
    for path in ("/", "/thumbnails/x.jpg", "/masks/x", "/_nicegui_ws/", "/?token=", "/?token=s3cre", "/?token=é"):
        assert web.get(path).status_code == 401 and web.post(path).status_code == 401
    with pytest.raises(WebSocketDisconnect), web.websocket_connect(base.replace("http", "ws") + "/ws"):
        pass
    found = web.get("/group/1?token=s3cret&region=a-1")
    assert found.status_code == 303 and found.headers["location"] == "/group/1?region=a-1"
    assert "HttpOnly" in found.headers["set-cookie"] and "SameSite=Strict" in found.headers["set-cookie"]
    assert web.get("/").status_code == 200 and web.post("/", content=b"x").text == "1"
    other = client(base, known=False, local=local)
    other.cookies.set("owseg_8765", "wrong")
    assert other.get("/").status_code == 401
    other = client(base, known=False, local=local)
    assert not other.get("//evil.example/x?token=s3cret").headers["location"].startswith("//")
    with pytest.raises(ValueError, match="empty token"):
        Guard(other.app, "")


def test_a_token_may_come_in_a_header_and_some_paths_need_none():
    web = client(known=False, open_paths=("/healthz",))
    for given in ("Bearer s3cret", "bearer  s3cret"):
        assert web.get("/", headers={"authorization": given}).status_code == 200
    for given in ("", "s3cret", "Basic s3cret", "Bearer", "Bearer s3cre", "Bearer s3cret x"):
        found = web.get("/", headers={"authorization": given})
        assert found.status_code == 401 and found.headers["www-authenticate"] == "Bearer", given
    assert web.get("/healthz").status_code == 200 and web.get("/healthz/x").status_code == 401


def test_without_a_token_the_rest_of_the_guard_stays():
    web = client(token=None, known=False)
    assert web.get("/").status_code == web.post("/", content=b"x").status_code == 200
    assert refused(web.get("/", headers={"host": "evil.example"}))
    assert refused(web.post("/", headers={"origin": "http://evil.example"}))
    assert web.post("/", content=b"x" * 1001).status_code == 413


def test_too_much_is_refused_whatever_it_said():
    assert client().post("/", content=b"x" * 1000).text == "1000"
    found = client().post("/", content=b"x" * 1001)
    assert found.status_code == 413 and "at once" in found.json()["error"]
    assert client().post("/", content=(b"x" * 100 for _ in range(11))).status_code == 413  # says no length
    for length in ("-5", "1001"):  # refused before anything is read
        assert client().post("/", content=b"x", headers={"content-length": length}).status_code == 413


def test_a_client_that_leaves_is_no_error_but_a_fault_is():
    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        raise KeyError("what a body of half a length does to a parser")

    def ask(*messages):
        left = iter(messages)

        async def receive():
            return next(left)

        headers = [(b"host", b"localhost"), (b"cookie", b"owseg_80=s3cret")]
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
        asyncio.run(Guard(app, "s3cret")(scope, receive, None))

    part = {"type": "http.request", "body": b"x", "more_body": True}
    ask(part, {"type": "http.disconnect"})
    with pytest.raises(KeyError):
        ask(part, {**part, "more_body": False})


def test_what_a_page_may_load_and_who_may_frame_it():
    passed = client(policy="img-src 'self'")
    refusal = client(known=False, policy="img-src 'self'")
    for found in (passed.get("/"), refusal.get("/"), refusal.get("/?token=s3cret")):
        assert found.headers["x-frame-options"] == "DENY" and found.headers["referrer-policy"] == "no-referrer"
        assert found.headers["content-security-policy"] == "img-src 'self'"
        assert found.headers["cross-origin-resource-policy"] == "same-origin"
    assert client().get("/").headers["content-security-policy"] == "default-src 'none'"
