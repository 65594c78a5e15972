"""Pictures in what students write are shown, or their names are: never do they run, ask for something, or burst."""

import base64
import io
import os
import re
import struct
import zlib

import pytest
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image

from grader.safe import pictures
from grader.safe.html import asked_for, harmless_markdown, render_markdown
from grader.safe.pictures import Room, Shown, find, kind_of, problem, strictly_written


def picture(kind="PNG", size=(3, 2), **more):
    """Return the bytes of a small picture."""
    file = io.BytesIO()
    Image.new("P" if kind == "GIF" else "RGB", size).save(file, kind, **more)
    return file.getvalue()


def pasted(name, kind="PNG"):
    return {name: {f"image/{kind.lower()}": base64.b64encode(picture(kind)).decode()}}


def huge(width=30_000, height=30_000):
    """Return a PNG of a few bytes that says it is that large."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


# jupyter/nbconvert#2143 and #2247: editors write a name percent-encoded, and the attachment's own is not.
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("my plot.png", "![](attachment:my%20plot.png)"),
        ("my plot.png", "![](<attachment:my plot.png>)"),
        ("график.png", "![](attachment:график.png)"),
        ("график.png", "![](attachment:%D0%B3%D1%80%D0%B0%D1%84%D0%B8%D0%BA.png)"),
        ("cafe\u0301.png", "![](attachment:caf%C3%A9.png)"),
        ("a(1).png", "![](attachment:a%281%29.png)"),
        ("50%25.png", "![](attachment:50%25.png)"),
        ("x.png", "![x][a]\n\n[a]: attachment:x.png"),
        ("x.gif", "![x](attachment:x.gif 'of a loss')"),
        ("x.jpeg", '<img src="attachment:x.jpeg">'),
        ("my plot.png", '<img src="attachment:my%20plot.png">'),
    ],
)
def test_a_pasted_picture_is_shown_whatever_its_name_and_however_it_is_written(name, text):
    kind = name.rpartition(".")[2].upper()
    page = render_markdown(f"**bold** {text}", pasted(name, kind))
    assert re.search(r'<img src="data:image/(png|gif|jpeg);base64,[\w/]', page)
    assert "<strong>bold</strong>" in page


# Who resizes a picture in JupyterLab writes the element, in as many ways as there are.
@pytest.mark.parametrize(
    ("text", "size"),
    [
        ('<img src="attachment:p.png" width="300">', 'width="300"'),
        ("<img src='attachment:p.png' width=300 />", 'width="300"'),
        ('<IMG SRC=attachment:p.png HEIGHT="50%">', 'height="50%"'),
        ('<img src="attachment:p.png" style="width: 12.5px; margin: auto">', 'width="12.5px"'),
        ('<img src="attachment:p.png" style="zoom:50%" class="big" />', "alt"),
        (
            '<center><img src="attachment:p.png" alt="a &gt; b" width=300></center>',
            'alt="a &gt; b" width="300"',
        ),
    ],
)
def test_a_resized_picture_is_shown_in_its_size_and_stays_a_picture_on_disk(text, size):
    text = text.replace("style", 'alt="" style') if size == "alt" else text
    kept = harmless_markdown(f"**bold** {text}", pasted("p.png"))
    assert "<img src=" in kept
    page = render_markdown(kept, pasted("p.png"))
    assert f"{size}" in page
    assert "data:image/png;base64," in page
    assert "&lt;" not in page


@pytest.mark.parametrize(
    "tag",
    [
        '<img src="attachment:p.png" onerror="alert(1)">',
        '<img src="attachment:p.png" srcset="https://evil.example/a.png 2x">',
        '<img src="//evil.example/p.png" width="300">',
        '<img src="javascript:alert(1)" width="300">',
        '<img src="data:image/svg+xml;base64,PHN2Zz4=" width="300">',
    ],
)
def test_an_img_that_says_more_than_source_texts_and_size_is_text(tag):
    kept = harmless_markdown(f"**bold** {tag}", pasted("p.png"))
    assert "&lt;img" in kept
    assert "**bold**" in kept
    assert "<img" not in MarkdownWithMath(renderer=IPythonRenderer(escape=False)).render(kept)
    assert "alert(1)" not in strictly_written('<img src="p.png" width="&quot; onload=alert(1)">')


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("![loss](attachment:loss.svg)", "[picture: loss (loss.svg)]"),
        ("![](attachment:my%20loss.svg)", "[picture: my loss.svg]"),
        ('<img src="attachment:loss.webp" width="3">', "[picture: loss.webp]"),
        ("![](loss.svg)", "[picture: loss.svg]"),
        ("![a](https://evil.example/a.png)", "[picture: a (https://evil.example/a.png)]"),
        ("![a < b](x.png)", "[picture: a &lt; b (x.png)]"),
    ],
)
def test_of_a_picture_that_is_not_shown_the_name_stands_there_and_nothing_is_asked_for(text, name):
    page = render_markdown(f"**bold** {text}", {"loss.svg": {"image/svg+xml": "PHN2Zz4="}})
    assert name in page
    assert "<strong>bold</strong>" in page
    assert "<img" not in page


@pytest.mark.parametrize(
    "address",
    [
        "C:\\Users\\me\\plot.png",
        "file:///home/me/plot.png",
        "/content/plot.png",
        "plot.pdf",
        "p.tiff",
        "//x/a.png",
    ],
)
def test_a_picture_of_a_place_that_no_page_can_show_does_not_turn_the_answer_into_code(address):
    kept = harmless_markdown(f"**bold** ![loss]({address}) ![](ours.png)")
    assert kept == f"**bold** [picture: loss `{address}`] ![](ours.png)"


@pytest.mark.parametrize(
    "name", ["plot.png", "my plot.gif", "img/кривая.jpg", "a (1),b~c'd.png", "img/a%b.png"]
)
@pytest.mark.parametrize("form", ["![]({})", "![loss](<{}>)", '<img src="{}" width="30">'])
def test_a_picture_beside_the_notebook_is_in_the_page(tmp_path, name, form):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    kind = {"png": "PNG", "gif": "GIF", "jpg": "JPEG"}[name.rpartition(".")[2]]
    (tmp_path / name).write_bytes(picture(kind))
    address = name if "<" in form else name.replace("%", "%25").replace(" ", "%20").replace("(", "%28")
    address = address.replace("%", "%25") if form[0] == "<" or "(<" in form else address
    address = address.replace(")", "%29") if form == "![]({})" else address
    page = render_markdown(form.format(address), None, Shown(str(tmp_path)))
    assert f"data:image/{kind.lower()};base64," in page


def test_a_name_that_macos_took_apart_is_found(tmp_path):
    (tmp_path / "cafe\u0301.png").write_bytes(picture())
    assert "data:image/png" in render_markdown("![](caf\u00e9.png)", None, Shown(str(tmp_path)))


@pytest.mark.parametrize(
    "address",
    [
        *("../secret.png", "a/../../secret.png", "%2e%2e/secret.png", "/secret.png", "file:secret.png"),
        *("link.png", "linked/secret.png", "page.png", "huge.png", "a.svg", "pipe.png", "large.png", ".", ""),
        *("a%00.png", "//secret.png", "x" * 5000 + ".png", "http://[secret.png"),
    ],
)
def test_no_file_is_read_but_pictures_of_the_submission(tmp_path, address):
    folder = tmp_path / "autograded"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(picture())
    (folder / "link.png").symlink_to("../secret.png")
    (folder / "linked").symlink_to("..")
    (folder / "page.png").write_text("<script>alert(1)</script>")
    (folder / "huge.png").write_bytes(huge())
    (folder / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    (folder / "large.png").write_bytes(picture() + bytes(pictures.MAX_PICTURE))
    os.mkfifo(folder / "pipe.png")
    for text in (f"![]({address})", f'<img src="{address}">'):
        assert "data:" not in render_markdown(text, None, Shown(str(folder)))
        assert "data:" not in render_markdown("![](autograded/huge.png)", None, Shown())


@pytest.mark.parametrize(
    ("data", "kind", "wrong"),
    [
        (picture(), "image/png", ""),
        (picture("JPEG"), "image/jpeg", ""),
        (picture("GIF"), "image/gif", ""),
        (huge(), "", "million pixels"),
        (huge(2**31 - 1, 2**31 - 1), "", "million pixels"),
        (picture("GIF")[:6] + struct.pack("<HH", 60_000, 60_000) + picture("GIF")[10:], "", "million pixels"),
        (huge(9, 9).replace(b"IDAT", b"IDAU")[:20] + bytes(9), "", "no PNG, JPEG or GIF that can be read"),
        (picture("GIF")[:7], "", "no PNG, JPEG or GIF that can be read"),
        (picture("WEBP"), "", "no PNG, JPEG or GIF"),
        (picture("BMP"), "", "no PNG, JPEG or GIF"),
        (picture("ICO"), "", "no PNG, JPEG or GIF"),
        (b"<svg/>", "", ""),
        (b"", "", ""),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_a_browser_would_unpack_to_gigabytes_is_refused_by_its_head(data, kind, wrong):
    assert kind_of(data) == kind
    assert wrong in problem(data)
    assert bool(wrong) == bool(problem(data))
    shown = base64.b64encode(data).decode()
    page = render_markdown("![](attachment:a.png)", {"a.png": {"image/png": shown}})
    assert ("data:" in page) == (not wrong and bool(data))


def test_a_gif_of_very_many_large_frames_is_refused(monkeypatch):
    frames = [Image.effect_noise((10, 10), 99) for _ in range(20)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert kind_of(file.getvalue()) == "image/gif"
    monkeypatch.setattr(pictures, "MAX_FRAMES", 1999)
    assert kind_of(file.getvalue()) == ""


def test_pictures_shown_again_and_again_do_not_fill_the_page(monkeypatch):
    one = pasted("p.png")
    size = len(one["p.png"]["image/png"]) + len("data:image/png;base64,")
    monkeypatch.setattr(Room.__init__, "__defaults__", (3 * size,))
    shown = Shown()
    pages = [render_markdown("![](attachment:p.png) " * 2, one, shown) for _ in range(2)]
    assert [page.count("data:") for page in pages] == [2, 1]
    assert pages[1].count("[picture: p.png]") == 1


def test_a_large_picture_does_not_turn_the_answer_into_code():
    large = base64.b64encode(os.urandom(1_000_000)).decode()
    page = render_markdown("**bold** ![](attachment:p.png)", {"p.png": {"image/png": large}})
    assert "<strong>bold</strong>" in page
    assert large in page


def test_the_names_that_a_text_asks_for_are_those_that_nbconvert_looks_for():
    text = (
        "![](attachment:a%20b.png) ![x][y] <img src='attachment:c d.png' width=3>\n\n[y]: <attachment:é.png>"
    )
    assert asked_for(text) == ["attachment:a%20b.png", "attachment:%C3%A9.png", "attachment:c d.png"]
    assert find({"a b.png": {}}, "a%20b.png") == "a b.png"
    assert find({"a%20b.png": {}}, "a b.png") == "a%20b.png"
    assert find({"a b.png": {}}, "ab.png") is None
