"""Which model answers for an id: itself, the one that the configuration maps it to, or a stand-in.

Ids are matched exactly, as they are on the wire. The packaged ``catalogue.toml`` says what is known of the real ids,
whether or not their weights are here.
"""

import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from typing import Literal

from lowcloud.core.errors import ModelNotFound
from lowcloud.models.card import SERVED, Card, Task

ANY = "*"
CHAT_STAND_IN = "@local/smollm2-135m-instruct"
EMBEDDING_STAND_IN = "@local/all-minilm-l6-v2"
MAX_NEAR = 3
MAX_ID_SHOWN = 120
MIN_CONTAINED = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """The card asked for and the card whose weights answer. A mapping of the configuration is no stand-in."""

    card: Card
    by: Card
    stand_in: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """A card that the catalogue lists, where its own weights are, and who answers for it.

    Without an ``answer``, ``why_not`` says why nobody does.
    """

    card: Card
    weights: Literal["here", "upstream", "absent"]
    answer: Answer | None
    why_not: str = ""


def packaged_cards() -> tuple[Card, ...]:
    """Every card of ``catalogue.toml``, in its order. Raises ValueError for a file that isn't one."""
    text = resources.files("lowcloud.models").joinpath("catalogue.toml").read_text("utf-8")
    return parse_cards(text)


def parse_cards(text: str) -> tuple[Card, ...]:
    """The cards of a catalogue's TOML (``[[model]]`` tables). Raises ValueError for a bad card or an id given twice."""
    cards = tuple(Card.model_validate(entry) for entry in tomllib.loads(text).get("model", ()))
    seen: set[str] = set()
    for card in cards:
        if card.id in seen:
            raise ValueError(f"the catalogue has {card.id} twice")
        seen.add(card.id)
    return cards


class Catalogue:
    """Resolves ids. ``local`` are the cards whose weights are here; ``mapping`` is the configuration's, from an id or
    ``*`` to a local id; ``remote`` are the ids among ``local`` that an upstream answers for; ``stand_ins`` says whether
    the small bundled models may answer for absent ones.

    Raises ValueError, naming the key, for a mapping to a model that isn't local.
    """

    def __init__(
        self,
        cards: Iterable[Card],
        local: Iterable[Card],
        *,
        mapping: Mapping[str, str] | None = None,
        remote: Collection[str] = (),
        stand_ins: bool = False,
    ) -> None:
        self._known = {card.id: card for card in cards}
        self._local = {card.id: card for card in local}
        self._mapping = dict(mapping or {})
        self._remote = frozenset(remote)
        for key, target in self._mapping.items():
            if target not in self._local:
                here = ", ".join(sorted(self._local)) or "none"
                raise ValueError(f'map."{key}": no local model {target}; there are: {here}')
        self._chat = self._local.get(CHAT_STAND_IN) if stand_ins else None
        self._embedding = self._local.get(EMBEDDING_STAND_IN) if stand_ins else None
        self._listings = self._all()
        self._answerable = tuple(listing.answer for listing in self._listings if listing.answer is not None)

    def resolve(self, model_id: str) -> Answer:
        """Who answers for ``model_id``. Raises ModelNotFound with near names, or with the reason for a known id."""
        answer = self._answer_for(model_id)
        if answer is None:
            raise self._not_found(model_id)
        return answer

    def answerable(self) -> tuple[Answer, ...]:
        """Exactly the listed ids that ``resolve`` answers: local, mapped, then the catalogue's, without repeats.

        With a mapping of ``*`` unknown ids answer too; they can't be listed.
        """
        return self._answerable

    def listings(self) -> tuple[Listing, ...]:
        """Every id that is known: local, mapped, then the catalogue's, without repeats."""
        return self._listings

    def _all(self) -> tuple[Listing, ...]:
        mapped = [key for key in self._mapping if key != ANY]
        ids = dict.fromkeys([*self._local, *mapped, *self._known])
        return tuple(self._listed(model_id) for model_id in ids)

    def _listed(self, model_id: str) -> Listing:
        """Local and mapped ids answer, so only a card of the catalogue can lack one who does."""
        answer = self._answer_for(model_id)
        if answer is None:
            card = self._known[model_id]
            return Listing(card, "absent", None, self._why_not(card))
        if model_id not in self._local:
            return Listing(answer.card, "absent", answer)
        return Listing(answer.card, "upstream" if model_id in self._remote else "here", answer)

    def _answer_for(self, model_id: str) -> Answer | None:
        return self._mapped(model_id) or self._own(model_id) or self._stood_in(model_id) or self._by_any(model_id)

    def _mapped(self, model_id: str) -> Answer | None:
        target = self._mapping.get(model_id) if model_id != ANY else None
        return None if target is None else self._answer(model_id, self._local[target])

    def _own(self, model_id: str) -> Answer | None:
        card = self._local.get(model_id)
        return None if card is None else Answer(card, card, stand_in=False)

    def _stood_in(self, model_id: str) -> Answer | None:
        card = self._known.get(model_id)
        by = None if card is None else self._stand_in_for(card)
        return None if card is None or by is None else Answer(card, by, stand_in=True)

    def _by_any(self, model_id: str) -> Answer | None:
        """``*`` answers for unknown ids and for known ones of the same task: a chat model is no reranker."""
        target = self._mapping.get(ANY)
        if target is None or not model_id:
            return None
        by, card = self._local[target], self._known.get(model_id)
        return self._answer(model_id, by) if card is None or card.task == by.task else None

    def _answer(self, model_id: str, by: Card) -> Answer:
        card = self._local.get(model_id) or self._known.get(model_id) or by.model_copy(update={"id": model_id})
        return Answer(card, by, stand_in=False)

    def _stand_in_for(self, card: Card) -> Card | None:
        if card.task == Task.TEXT_GENERATION:
            return self._chat
        if card.task == Task.TEXT_EMBEDDINGS and self._embedding is not None and self._fits(card, self._embedding):
            return self._embedding
        return None

    @staticmethod
    def _fits(card: Card, stand_in: Card) -> bool:
        """A shorter vector would have to be cut, which changes every cosine; a longer one is padded with zeros."""
        return (card.dimensions or 0) >= (stand_in.dimensions or 0)

    def _not_found(self, model_id: str) -> ModelNotFound:
        card = self._known.get(model_id)
        if card is None:
            shown = model_id if len(model_id) <= MAX_ID_SHOWN else model_id[:MAX_ID_SHOWN] + "…"
            near = self._near(model_id[:MAX_ID_SHOWN])
            return ModelNotFound(shown, near, why="" if near else "GET models lists those that answer")
        return ModelNotFound(model_id, why=self._why_not(card))

    def _why_not(self, card: Card) -> str:
        if card.task not in SERVED:
            return f"no engine here does {card.task.value} yet"
        how = f'map it to a local model in the configuration ([map] "{card.id}" = "@local/...")'
        if self._embedding is not None and card.task == Task.TEXT_EMBEDDINGS:
            size = f"{card.dimensions} dimensions" if card.dimensions else "an unknown number of dimensions"
            return (
                f"its weights aren't here, and the stand-in can't answer: the model has {size} and the stand-in's "
                f"{self._embedding.dimensions} would have to be cut; {how}"
            )
        if self._chat is not None and card.task != Task.TEXT_GENERATION:
            return f"its weights aren't here, and a model for {card.task.value} has no stand-in; {how}"
        return f"its weights aren't here; {how}"

    def _near(self, model_id: str) -> tuple[str, ...]:
        """At most three ids like this one, those that would answer first."""
        answering = [answer.card.id for answer in self._answerable]
        near = [*_close(model_id, answering), *_close(model_id, list(self._known))]
        return tuple(dict.fromkeys(near))[:MAX_NEAR]


def _close(asked: str, ids: Iterable[str]) -> list[str]:
    """The ids whose whole or last part is like ``asked``, nearest first, then those that contain it, in any case."""
    by_name: dict[str, str] = {}
    for model_id in ids:
        by_name.setdefault(model_id.lower(), model_id)
        by_name.setdefault(model_id.rsplit("/", 1)[-1].lower(), model_id)
    wanted = asked.lower()
    like = get_close_matches(wanted, by_name, n=2 * MAX_NEAR)
    containing = [name for name in by_name if len(wanted) >= MIN_CONTAINED and wanted in name]
    return list(dict.fromkeys(by_name[name] for name in [*like, *containing]))
