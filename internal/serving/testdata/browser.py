"""What a person sees of the page in a browser: browser.py CHROMIUM URL LOCKED_URL TEXT.

The first server writes TEXT after every prompt, has a chat template and writes a token for each time that "/next" is asked for.
The second asks for the key "secret" and doesn't wait.
"""
import re
import sys
import time
import urllib.request

from playwright.sync_api import expect, sync_playwright

chromium, url, locked, text = sys.argv[1:]


def tokens(n):
    """Waits until n tokens are written, of a text that has so many."""
    for _ in range(n):
        urllib.request.urlopen(url + "/next").read()


def nobody_writes():
    """Waits until the server has noticed that nobody wants the text before, which would take the next one's tokens."""
    while b"longform_active_texts 0" not in urllib.request.urlopen(url + "/metrics").read():
        time.sleep(0.01)


with sync_playwright() as p:
    browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
    page = browser.new_page()
    page.set_default_timeout(60000)
    expect.set_options(timeout=60000)
    complaints = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    outside = []
    page.on("request", lambda r: outside.append(r.url) if not r.url.startswith((url, locked, "data:")) else None)
    output, prompt = page.get_by_role("log", name="Text"), page.get_by_label("Prompt")
    write, stop = page.get_by_role("button", name="Write"), page.get_by_role("button", name="Stop")

    # A text appears as it is written.
    page.goto(url)
    expect(page.get_by_role("heading")).to_have_text("tiny")
    page.get_by_label("Continue a text").check()
    prompt.fill("Name a river: ")
    page.get_by_label("Most tokens").fill("100")
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Seed").fill("7")
    expect(stop).to_be_disabled()
    write.click()
    expect(stop).to_be_enabled()
    tokens(7)
    expect(output).to_have_text("Name a river: The Danube ")
    expect(write).to_be_disabled()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^7 tokens, [\d.]+ tokens a second, the first after [\d.]+ s$"))
    tokens(17)  # to the end token
    expect(output).to_have_text("Name a river: " + text)
    expect(write).to_be_enabled()
    expect(page.get_by_role("status")).to_have_text(re.compile("^24 tokens, "))

    # It can be stopped, and the next one written.
    write.click()
    tokens(5)
    expect(output).to_contain_text("Dan")
    stop.click()
    expect(write).to_be_enabled()
    nobody_writes()
    expect(page.get_by_role("alert")).to_be_hidden()

    # A conversation goes on.
    page.get_by_label("Chat").check()
    expect(output).to_have_text("")
    for turn in 1, 2:
        prompt.fill(f"Question {turn}")
        prompt.press("Control+Enter")
        tokens(24)
        expect(write).to_be_enabled()
        expect(output.locator(".turn")).to_have_count(2 * turn)
        expect(output.locator(".turn").last).to_have_text("Model" + text)
    page.get_by_role("button", name="Clear").click()
    expect(output).to_have_text("")

    # Another one begins anew, though the answer before was still being written.
    for leave in page.get_by_role("button", name="Clear").click, page.get_by_label("Continue a text").check:
        page.get_by_label("Chat").check()
        prompt.fill("Question 3")
        write.click()
        tokens(5)
        expect(output).to_contain_text("Dan")
        leave()
        expect(write).to_be_enabled()
        expect(output).to_have_text("")
        nobody_writes()
    page.get_by_label("Chat").check()
    prompt.fill("Question 4")
    with page.expect_request("**/v1/chat/completions") as asked:
        write.click()
    assert asked.value.post_data_json["messages"] == [{"role": "user", "content": "Question 4"}], asked.value.post_data
    tokens(24)
    expect(write).to_be_enabled()
    expect(output.locator(".turn")).to_have_count(2)
    page.get_by_role("button", name="Clear").click()
    assert complaints == [], complaints

    # A mistake is told.
    prompt.fill("long " * 300)
    write.click()
    expect(page.get_by_role("alert")).to_contain_text("longest text has")
    expect(prompt).to_have_value("long " * 300)

    # A key is asked for, and what the model writes is shown as text.
    page.goto(locked)
    expect(page.get_by_role("alert")).to_contain_text("API key")
    page.get_by_label("API key").fill("secret")
    prompt.fill("<b>bold</b> ")
    write.click()
    expect(output).to_have_text("<b>bold</b> " + text)

    # Everything can be read in the dark, and reached by keys.
    for scheme in "dark", "light":
        page.emulate_media(color_scheme=scheme)
        shades = page.evaluate("""() => [getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]""")
        assert shades[0] != shades[1], shades
    names = []
    page.locator("#key").focus()
    for _ in range(8):
        names.append(page.evaluate("document.activeElement.id"))
        page.keyboard.press("Tab")
    assert names == ["key", "prompt", "temperature", "top_p", "max_tokens", "seed", "send", "clear"], names
    assert outside == [], outside
    browser.close()
print("ok")
