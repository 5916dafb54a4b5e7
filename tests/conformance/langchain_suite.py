"""Run by `langchain`, in an environment that has LangChain."""

from __future__ import annotations

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestGateway(ChatModelIntegrationTests):
    """What needs tools is skipped by its name, until the gateway has them."""

    has_tool_calling = False
    has_tool_choice = False
    supports_image_inputs = False

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, object]:
        return {"model": "agency/1", "max_retries": 0}
