"""What was said in a WAV file, by a speech model of `transformers` from a folder."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kairos.assistant.v1 import assistant_pb2
from services.common.limits import MAX_TRANSCRIPTS, MAX_UTTERANCE

_RATE = 16_000
# What Whisper hears at once.
_MOST_S = 30
_BEAMS, _MOST_TOKENS = 4, 128


class NotHeard(Exception):
    """The message says what is wrong with the file or the model, and what to do."""


def heard(recording: Path, model: Path) -> list[assistant_pb2.TranscriptAlternative]:
    """The most likely texts, the best one first. Their confidences add up to 1. Raises NotHeard."""
    sound = read_wav(recording)
    try:
        import torch
        from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor
    except ImportError:
        raise NotHeard("a speech model needs torch: pip install 'kairos-suite[query-encoder-export]'") from None
    try:
        processor = AutoProcessor.from_pretrained(model, local_files_only=True)  # type: ignore[no-untyped-call]
        speech = AutoModelForSpeechSeq2Seq.from_pretrained(model, local_files_only=True)
    except (OSError, ValueError) as error:
        raise NotHeard(f"{model} holds no speech model of transformers: {error}") from None
    features = processor(sound, sampling_rate=_RATE, return_tensors="pt").input_features
    with torch.inference_mode():
        said = speech.generate(
            features, num_beams=_BEAMS, num_return_sequences=_BEAMS, max_new_tokens=_MOST_TOKENS,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    texts = processor.batch_decode(said.sequences, skip_special_tokens=True)
    shares = torch.softmax(said.sequences_scores, dim=0).tolist()
    together: dict[str, float] = {}
    for text, share in zip(texts, shares, strict=True):
        if text := text.strip()[:MAX_UTTERANCE]:
            together[text] = together.get(text, 0.0) + share
    if not together:
        raise NotHeard(f"nothing was understood in {recording}; speak closer to the microphone")
    best = sorted(together.items(), key=lambda each: -each[1])[:MAX_TRANSCRIPTS]
    return [assistant_pb2.TranscriptAlternative(text=text, confidence=min(1.0, share)) for text, share in best]


def read_wav(file: Path) -> npt.NDArray[np.float32]:
    """Mono at 16 kHz, from -1 to 1. Raises NotHeard for another format than PCM of 16 bits, and beyond 30 seconds."""
    try:
        with wave.open(str(file)) as recorded:
            if recorded.getsampwidth() != 2:
                raise NotHeard(f"{file} has {8 * recorded.getsampwidth()} bits a sample; convert it to 16")
            channels, rate, count = recorded.getnchannels(), recorded.getframerate(), recorded.getnframes()
            if count > _MOST_S * rate:
                raise NotHeard(f"{file} has {count / rate:.0f} s; send at most {_MOST_S}")
            samples = np.frombuffer(recorded.readframes(count), "<i2")
    except (OSError, EOFError, wave.Error) as error:
        raise NotHeard(f"{file} is no WAV file: {error}") from None
    sound = samples.reshape(-1, channels).mean(axis=1) / 32_768
    at = np.arange(int(len(sound) * _RATE / rate)) * rate / _RATE
    return np.interp(at, np.arange(len(sound)), sound).astype(np.float32) if len(sound) else np.zeros(1, np.float32)
