"""What OpenAI's own client makes of a server: openai_client.py URL LOCKED_URL FULL_URL TEXT.

The first server writes TEXT after every prompt and has a chat template, the second asks for the key "secret", and the
third has a full queue.
"""
import sys

import openai

url, locked, full, text = sys.argv[1:]


def client(url, key="unused"):
    return openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)


def raises(kind, call, status, code=None, param=None):
    try:
        call()
    except kind as e:
        assert type(e) is kind and e.status_code == status and e.code == code and e.param == param, (e, e.status_code, e.code, e.param)
        return
    raise AssertionError(f"no {kind.__name__}")


ai = client(url)
say = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}]

assert [m.id for m in ai.models.list()] == ["tiny"]
assert ai.models.retrieve("tiny").object == "model"

# Completions.
c = ai.completions.create(model="tiny", prompt=["Name a river.", "Again."], n=2, max_tokens=100, seed=7, temperature=0.5, extra_body={"top_k": 5})
text = " " + text  # it goes on after the prompt
assert [x.text for x in c.choices] == [text] * 4 and [x.index for x in c.choices] == [0, 1, 2, 3], c
assert {x.finish_reason for x in c.choices} == {"stop"} and c.object == "text_completion"
assert c.usage.total_tokens == c.usage.prompt_tokens + c.usage.completion_tokens and c.usage.completion_tokens % 4 == 0
assert ai.completions.create(model="tiny", prompt="A").choices[0].finish_reason == "length"
assert ai.completions.create(model="tiny", prompt=[5, 6], stop=["Black", "never"], max_tokens=100).choices[0].text == text[: text.index("Black")]
assert ai.completions.create(model="tiny", prompt="Where? ", echo=True, max_tokens=100).choices[0].text == "Where? " + text
l = ai.completions.create(model="tiny", prompt="A", logprobs=3, max_tokens=100).choices[0].logprobs
assert "".join(l.tokens) == text + "</s>" and all(text[o:].startswith(t) for o, t in zip(l.text_offset, l.tokens[:-1]))
assert all(p < 0 for p in l.token_logprobs) and all(0 < len(t) <= 3 for t in l.top_logprobs)
l = ai.completions.create(model="tiny", prompt="Name a river.", logprobs=1, echo=True, max_tokens=0).choices[0]
assert l.text == "".join(l.logprobs.tokens[1:]) == "Name a river." and l.finish_reason == "length"
assert l.logprobs.tokens[0] == "<s>" and l.logprobs.token_logprobs[0] is None and l.logprobs.top_logprobs[0] is None
assert all(l.text[o:].startswith(t) for o, t in zip(l.logprobs.text_offset[1:], l.logprobs.tokens[1:])) and all(p <= 0 for p in l.logprobs.token_logprobs[1:])
l = ai.completions.create(model="tiny", prompt="日本 🙃 A river", logprobs=1, echo=True, max_tokens=2).choices[0]
parts = [t for t in l.logprobs.tokens if "\ufffd" in t]
assert len(parts) > 2 and l.text == "日本 🙃 A river The ", l
assert all("\ufffd" in t or l.text[o:].startswith(t) for o, t in zip(l.logprobs.text_offset[1:], l.logprobs.tokens[1:])), l
chunks = list(ai.completions.create(model="tiny", prompt="A", max_tokens=100, stream=True, stream_options={"include_usage": True}))
assert "".join(x.choices[0].text for x in chunks[:-1]) == text and len(chunks) > 10
assert [x.choices[0].finish_reason for x in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 20 and len({x.id for x in chunks}) == 1

# Chat.
c = ai.chat.completions.create(model="tiny", messages=say, n=2, max_completion_tokens=100, logprobs=True, top_logprobs=2)
text = text[1:]
assert [x.message.content for x in c.choices] == [text] * 2 and {x.message.role for x in c.choices} == {"assistant"}
tokens = c.choices[0].logprobs.content
assert "".join(t.token for t in tokens) == text and b"".join(bytes(t.bytes) for t in tokens).decode() == text
assert all(len(t.top_logprobs) == 2 for t in tokens)
chunks = list(ai.chat.completions.create(model="tiny", messages=say, stream=True, stop=" Sea"))
assert chunks[0].choices[0].delta.role == "assistant" and all(x.choices[0].delta.role is None for x in chunks[1:])
assert "".join(x.choices[0].delta.content or "" for x in chunks) == text[: text.index(" Sea")]
assert chunks[-1].choices[0].finish_reason == "stop"

# A conversation goes on with the answer as the client has it; what changes nothing may be said.
again = ai.chat.completions.create(model="tiny", messages=say + [c.choices[0].message.model_dump(), {"role": "user", "content": "And?"}],
    prompt_cache_key="rivers", store=True, service_tier="auto", tool_choice="auto", extra_headers={"X-Request-Id": "my-request"})
assert again.choices[0].message.content == text and again._request_id == "my-request" and c._request_id.startswith("req_")
assert again.usage.prompt_tokens_details.cached_tokens == 2
with ai.chat.completions.stream(model="tiny", messages=say) as stream:
    assert "".join(e.delta for e in stream if e.type == "content.delta") == text

# A stream that is left gives its place back: the server has one.
for _ in range(3):
    with ai.completions.create(model="tiny", prompt="A", max_tokens=100000, stream=True, extra_body={"ignore_eos": True}) as stream:
        next(iter(stream))

# Errors.
raises(openai.BadRequestError, lambda: ai.completions.create(model="tiny", prompt="A", temperature=3), 400, param="temperature")
raises(openai.BadRequestError, lambda: ai.completions.create(model="tiny", prompt="A", extra_body={"max_token": 3}), 400, "unknown_parameter", "max_token")
raises(openai.BadRequestError, lambda: ai.completions.create(model="tiny", prompt="A", max_tokens=10**8), 400, "context_length_exceeded", "prompt")
raises(openai.BadRequestError, lambda: ai.chat.completions.create(model="tiny", messages=say, response_format={"type": "json_object"}), 400, param="response_format")
raises(openai.NotFoundError, lambda: ai.completions.create(model="huge", prompt="A"), 404, "model_not_found", "model")
raises(openai.NotFoundError, lambda: ai.models.retrieve("huge"), 404, "model_not_found", "model")
raises(openai.NotFoundError, lambda: ai.embeddings.create(model="tiny", input="A"), 404)
raises(openai.AuthenticationError, lambda: client(locked).models.list(), 401, "invalid_api_key")
assert client(locked, "secret").models.list().data[0].id == "tiny"
raises(openai.RateLimitError, lambda: client(full).completions.create(model="tiny", prompt="A"), 429, "queue_full")
print("ok")
