"""Tests of natsproof itself."""
