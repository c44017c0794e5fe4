import pytest

pytest.importorskip("starlette", reason="the page needs NiceGUI: pip install 'owseg[review]'")
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from owseg.serve.guard import Guard, is_loopback

LOCAL = "http://127.0.0.1:8765"


async def answer(request: Request):
    return PlainTextResponse(str(len(await request.body())))


async def talk(socket):
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def client(token="", base=LOCAL, max_body=1000):
    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"]), WebSocketRoute("/ws", talk)])
    return TestClient(Guard(app, token, max_body), base_url=base, follow_redirects=False)


def test_on_loopback_only_its_own_names_are_served():
    for host in ("127.0.0.1:8765", "localhost", "[::1]:80", "127.1.2.3"):
        assert client().get("/", headers={"host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[", "10.0.0.1"):
        found = client().get("/", headers={"host": host})
        assert found.status_code == 403 and found.json()["error"].endswith(".")
    assert is_loopback("::1") and not is_loopback("0.0.0.0")


def test_another_site_may_not_send():
    assert client().post("/", content=b"xx", headers={"origin": LOCAL}).text == "2"
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999"):
        assert client().post("/", headers={"origin": origin}).status_code == 403
        with pytest.raises(WebSocketDisconnect), client().websocket_connect("/ws", headers={"origin": origin}):
            pass
    with client().websocket_connect("/ws", headers={"origin": LOCAL, "host": "127.0.0.1:8765"}) as socket:
        assert socket.receive_text() == "hello"


def test_elsewhere_every_request_needs_the_token():
    web = client("s3cret", "http://tablet.lan:8765")
    for path in ("/", "/thumbnails/x.jpg", "/masks/x", "/_nicegui_ws/", "/?token=", "/?token=s3cre", "/?token=é"):
        assert web.get(path).status_code == 401 and web.post(path).status_code == 401
    with pytest.raises(WebSocketDisconnect), web.websocket_connect("/ws"):
        pass
    found = web.get("/group/1?token=s3cret&region=a-1")
    assert found.status_code == 303 and found.headers["location"] == "/group/1?region=a-1"
    assert "HttpOnly" in found.headers["set-cookie"] and "SameSite=Strict" in found.headers["set-cookie"]
    assert web.get("/").status_code == 200 and web.post("/", content=b"x").text == "1"
    other = client("s3cret", "http://tablet.lan:8765")
    other.cookies.set("owseg_8765", "wrong")
    assert other.get("/").status_code == 401
    assert not other.get("//evil.example/x?token=s3cret").headers["location"].startswith("//")


def test_too_much_is_refused_whatever_it_said():
    assert client().post("/", content=b"x" * 1000).text == "1000"
    found = client().post("/", content=b"x" * 1001)
    assert found.status_code == 413 and "at once" in found.json()["error"]
    assert client().post("/", content=(b"x" * 100 for _ in range(11))).status_code == 413  # says no length
    for length in ("-5", "1001"):  # refused before anything is read
        assert client().post("/", content=b"x", headers={"content-length": length}).status_code == 413


def test_no_page_may_frame_it():
    found = client().get("/")
    assert found.headers["x-frame-options"] == "DENY" and found.headers["referrer-policy"] == "no-referrer"
