"""The one door to OpenAI-compatible servers (llama-server, vLLM, Ollama).

connecting.py  whom texts may be sent to: this machine alone unless the recipe allows another one
asking.py      one request and its answer
kept.py        many requests, their answers kept on disk as they come
"""

from localpsych_recipes.openai_server.asking import Answer, Refused, Server
from localpsych_recipes.openai_server.connecting import HEADERS, connect, where
from localpsych_recipes.openai_server.kept import Ledger, ask_all, digest

__all__ = ["HEADERS", "Answer", "Ledger", "Refused", "Server", "ask_all", "connect", "digest", "where"]
