"""GGUF files that differ a little from one that is there."""


def with_text(gguf: bytes, key: str, value: str) -> bytes:
    """The file with one more text in its metadata, padded, so that the tensors' places stay aligned."""
    head, count, rest = gguf[:16], int.from_bytes(gguf[16:24], "little"), gguf[24:]
    value = value.ljust(len(value) + (-(len(key) + len(value) + 20) % 32))
    entry = len(key).to_bytes(8, "little") + key.encode() + (8).to_bytes(4, "little")
    entry += len(value).to_bytes(8, "little") + value.encode()
    return head + (count + 1).to_bytes(8, "little") + entry + rest
