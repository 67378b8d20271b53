"""What the rooms share: money, intents, reports, codes, records, the Fabric client.

It imports no room. Whatever only one room needs stays in that room.
"""
