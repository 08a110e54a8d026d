"""A recording becomes alternatives of a transcript, by a tiny Whisper that the test makes."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from cli.speech import NotHeard, heard, read_wav


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Half a second of a tone, stereo at 8 kHz."""
    file, at = tmp_path / "said.wav", np.arange(4_000) / 8_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * at) * 32_767).astype("<i2")
    with wave.open(str(file), "wb") as written:
        written.setnchannels(2)
        written.setsampwidth(2)
        written.setframerate(8_000)
        written.writeframes(np.stack([tone, tone], axis=1).tobytes())
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """With random weights and the bytes as its words."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor
    from transformers import WhisperTokenizer as Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    folder = tmp_path / "whisper"
    special = ["<|endoftext|>", "<|startoftranscript|>"]
    words = {word: number for number, word in enumerate([*bytes_to_unicode().values(), *special])}  # type: ignore[no-untyped-call]
    tokenizer = Tokenizer(words, [], bos_token=special[1])
    torch.manual_seed(3)
    end, start = (words[word] for word in special)
    config = WhisperConfig(
        vocab_size=len(words), num_mel_bins=8, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_source_positions=1_500,
        max_target_positions=160, pad_token_id=end, bos_token_id=start, eos_token_id=end, decoder_start_token_id=start,
        suppress_tokens=[end], begin_suppress_tokens=[end],
    )  # fmt: skip
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    features = WhisperFeatureExtractor(feature_size=8)  # type: ignore[no-untyped-call]
    WhisperProcessor(features, tokenizer).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return folder


def test_alternatives_with_confidences(recording: Path, model: Path) -> None:
    """Different texts, the most confident one first; their confidences add up to 1."""
    found = heard(recording, model)
    confidences = [one.confidence for one in found]
    assert len({one.text for one in found}) == len(found) >= 1
    assert all(one.text for one in found)
    assert confidences == sorted(confidences, reverse=True)
    assert sum(confidences) == pytest.approx(1.0, abs=1e-3)


def test_a_recording_is_read(recording: Path) -> None:
    """Any rate and any number of channels become mono at 16 kHz, as loud as before."""
    sound = read_wav(recording)
    assert len(sound) == 8_000
    assert float(np.abs(sound).max()) == pytest.approx(0.5, abs=0.01)


def test_what_cannot_be_heard(tmp_path: Path, recording: Path) -> None:
    """No WAV file, too long a one, and a folder without a model are named, with the remedy."""
    (tmp_path / "x.wav").write_bytes(b"no sound")
    with pytest.raises(NotHeard, match="is no WAV file"):
        read_wav(tmp_path / "x.wav")
    with wave.open(str(tmp_path / "long.wav"), "wb") as written:
        written.setparams((1, 2, 8_000, 0, "NONE", ""))
        written.writeframes(bytes(2 * 8_000 * 31))
    with pytest.raises(NotHeard, match="send at most 30"):
        read_wav(tmp_path / "long.wav")
    with pytest.raises(NotHeard, match="holds no speech model"):
        heard(recording, tmp_path)
